#!/bin/sh
# Install containai from a registry, verified: install.sh --registry HOST --namespace NAME [--channel prod]
#
# What is checked, every time: the channel's metadata and the payload are the bytes of their digests; the metadata is of the
# channel asked for, has not expired and is no older than what is installed; the payload's archive holds plain files only,
# exactly those of its SHA256SUMS, each with its sum; the images the payload starts are those of the metadata. Whatever does
# not hold ends the installation, and what was installed before stays as it was.
#
# Needs sh and Python 3.8 or later, nothing else. `install.sh --help` lists the options.
set -eu
command -v python3 > /dev/null || { echo "install.sh: python3 is needed and not there" >&2; exit 1; }
exec python3 -I - "$@" << 'PYTHON'
import argparse
import datetime
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
METADATA = "application/vnd.containai.metadata.v1+json"
PAYLOAD = "application/vnd.containai.payload.v1"
LAYER = "application/vnd.containai.payload.layer.v1+gzip"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
MANIFEST_LIMIT = 4 * 1024 * 1024
LAYER_LIMIT = 1024 * 1024 * 1024
FILES_LIMIT = 20000
UNPACKED_LIMIT = 4 * 1024 * 1024 * 1024


class Refused(Exception):
    """The installation can't go on; the message says why."""


# The registry -----------------------------------------------------------------------------------------------------------


def is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Redirects(urllib.request.HTTPRedirectHandler):
    """Never from TLS to plain text. The token stays behind: it was given for the first host alone."""

    def redirect_request(self, request, body, code, message, headers, url):
        if urllib.parse.urlsplit(request.full_url).scheme == "https" and not url.startswith("https://"):
            raise Refused("%s redirects from TLS to %s" % (request.full_url, url))
        return super().redirect_request(request, body, code, message, headers, url)


class Registry:
    def __init__(self, host, plain):
        name = urllib.parse.urlsplit("//" + host).hostname or ""
        if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9a-fA-F:]+\](:[0-9]+)?", host):
            raise Refused("--registry %s: a host, with a port if need be, is wanted" % host)
        if plain and not is_loopback(name):
            raise Refused("--insecure-http is for a registry on this machine only, not for %s" % host)
        self.host = host
        self.plain = plain
        self.base = "%s://%s" % ("http" if plain else "https", host)
        handlers = [Redirects()]
        if is_loopback(name):
            handlers.append(urllib.request.ProxyHandler({}))
        self.opener = urllib.request.build_opener(*handlers)
        self.tokens = {}

    def get(self, repository, path, accept):
        """Open a GET on a path of a repository; once with an anonymous token if the registry asks for one."""
        url = "%s/v2/%s/%s" % (self.base, repository, path)
        for attempt in (1, 2):
            request = urllib.request.Request(url, headers={"Accept": accept, "User-Agent": "containai-install"})
            if repository in self.tokens:
                request.add_unredirected_header("Authorization", "Bearer " + self.tokens[repository])
            try:
                return self.opener.open(request, timeout=60)
            except urllib.error.HTTPError as error:
                challenge = error.headers.get("WWW-Authenticate", "")
                if error.code != 401 or attempt == 2:
                    raise Refused("GET %s: %d %s" % (url, error.code, error.reason))
                self.tokens[repository] = self.anonymous_token(repository, challenge)
            except (OSError, http.client.HTTPException) as error:
                raise Refused("GET %s: %s" % (url, error))

    def anonymous_token(self, repository, challenge):
        scheme, _, rest = challenge.partition(" ")
        values = dict(re.findall(r'([a-z]+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in values:
            raise Refused("%s asks for a login (%s); only anonymous reading is supported" % (self.host, scheme or "?"))
        try:
            realm = urllib.parse.urlsplit(values["realm"])
            realm.port
        except ValueError as error:
            raise Refused("%s sends to %r for a token: %s" % (self.host, values["realm"], error))
        if realm.scheme != "https" and not (self.plain and realm.scheme == "http" and is_loopback(realm.hostname)):
            raise Refused("the registry sends to %s for a token, which is not TLS" % values["realm"])
        query = {"scope": values.get("scope", "repository:%s:pull" % repository)}
        if "service" in values:
            query["service"] = values["service"]
        address = urllib.parse.urlunsplit(realm._replace(query=urllib.parse.urlencode(query)))
        try:
            with self.opener.open(address, timeout=60) as response:
                document = parse_json(bounded(response, MANIFEST_LIMIT, address), address)
        except (OSError, http.client.HTTPException) as error:
            raise Refused("%s: no anonymous token: %s. Is the package public?" % (address, error))
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise Refused("%s: the answer has no valid token" % address)
        return token

    def manifest(self, repository, reference):
        """A manifest and its digest; asked for by digest it must be of that digest."""
        what = "%s/%s:%s" % (self.host, repository, reference)
        with self.get(repository, "manifests/" + reference, MANIFEST) as response:
            data = bounded(response, MANIFEST_LIMIT, what)
            said = response.headers.get("Docker-Content-Digest")
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        for wanted in (said, reference if DIGEST.fullmatch(reference) else None):
            if wanted and wanted != digest:
                raise Refused("%s: the manifest is %s, it should be %s" % (what, digest, wanted))
        return parse_json(data, what), digest

    def blob(self, repository, descriptor, limit, file):
        """Write a blob to the file, checked against its descriptor."""
        digest, size = descriptor["digest"], descriptor["size"]
        what = "%s/%s@%s" % (self.host, repository, digest)
        if size > limit:
            raise Refused("%s: %d bytes are more than the limit of %d" % (what, size, limit))
        total, sum_ = 0, hashlib.sha256()
        with self.get(repository, "blobs/" + digest, "*/*") as response:
            while True:
                try:
                    piece = response.read(1024 * 1024)
                except (OSError, http.client.HTTPException) as error:
                    raise Refused("%s: %s" % (what, error))
                if not piece:
                    break
                total += len(piece)
                if total > size:
                    raise Refused("%s: more bytes than the %d of its manifest" % (what, size))
                sum_.update(piece)
                file.write(piece)
        if total != size or "sha256:" + sum_.hexdigest() != digest:
            raise Refused("%s: got %d bytes with sha256:%s instead of %d" % (what, total, sum_.hexdigest(), size))
        file.flush()


def bounded(response, limit, what):
    try:
        data = response.read(limit + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Refused("%s: %s" % (what, error))
    if len(data) > limit:
        raise Refused("%s: more than %d bytes" % (what, limit))
    return data


def parse_json(data, what):
    try:
        document = json.loads(data)
    except ValueError as error:
        raise Refused("%s: not JSON: %s" % (what, error))
    if not isinstance(document, dict):
        raise Refused("%s: not a JSON object" % what)
    return document


def layer_of(manifest, artifact_type, media_type, what):
    """The one layer of this media type, of an artifact of this type."""
    if manifest.get("artifactType") != artifact_type:
        raise Refused("%s is of type %s, not %s" % (what, manifest.get("artifactType"), artifact_type))
    layers = manifest.get("layers")
    found = [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    found = [layer for layer in found if layer.get("mediaType") == media_type]
    if len(found) != 1:
        raise Refused("%s has %d layers of type %s, not one" % (what, len(found), media_type))
    digest, size = found[0].get("digest"), found[0].get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
        raise Refused("%s: its layer has no valid digest and size" % what)
    return found[0]


# Metadata ---------------------------------------------------------------------------------------------------------------


def read_metadata(registry, options):
    repository = "%s/%s-metadata" % (options.namespace, options.name)
    what = "%s/%s:%s" % (registry.host, repository, options.channel)
    manifest, digest = registry.manifest(repository, options.channel)
    layer = layer_of(manifest, METADATA, "application/json", what)
    with tempfile.TemporaryFile() as file:
        registry.blob(repository, layer, MANIFEST_LIMIT, file)
        file.seek(0)
        document = parse_json(file.read(), what)
    if document.get("channel") != options.channel:
        raise Refused("%s is the metadata of channel %s" % (what, document.get("channel")))
    if "expires_at" in document and moment(document["expires_at"], what) <= datetime.datetime.now(datetime.timezone.utc):
        raise Refused("%s expired at %s; a refreshed one is needed for a new installation" % (what, document["expires_at"]))
    if not isinstance(document.get("version"), str) or not TAG.fullmatch(document["version"]):
        raise Refused("%s: no valid version" % what)
    payload = document.get("payload")
    if not isinstance(payload, dict) or not isinstance(payload.get("ref"), str):
        raise Refused("%s: no payload" % what)
    if not isinstance(payload.get("digest"), str) or not DIGEST.fullmatch(payload["digest"]):
        raise Refused("%s: the payload has no valid digest" % what)
    name, _, ref_digest = payload["ref"].partition("@")
    if ref_digest != payload["digest"]:
        raise Refused("%s: payload.ref and payload.digest differ" % what)
    payload_name = name.rpartition("/")[2].partition(":")[0]
    if not NAME.fullmatch(payload_name):
        raise Refused("%s: payload.ref names no repository" % what)
    return document, digest, "%s/%s" % (options.namespace, payload_name)


def moment(text, what):
    try:
        return datetime.datetime.strptime(re.sub(r"\.\d+", "", text), "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=datetime.timezone.utc
        )
    except (TypeError, ValueError):
        raise Refused("%s: %r is not a moment in UTC" % (what, text))


def image_digests(entries, what):
    digests = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise Refused("%s: an entry without the name of an image" % what)
        if not isinstance(entry.get("digest"), str) or not DIGEST.fullmatch(entry["digest"]):
            raise Refused("%s: image %s has no valid digest" % (what, entry["image"]))
        digests[entry["image"]] = entry["digest"]
    if not digests:
        raise Refused("%s names no images" % what)
    return digests


# Payload ----------------------------------------------------------------------------------------------------------------


def unpack(file, folder):
    """Plain files and folders, inside the folder, none twice."""
    seen, total = set(), 0
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            for entry in archive:
                name = entry.name[2:] if entry.name.startswith("./") else entry.name
                parts = name.split("/")
                if name in ("", ".") and entry.isdir():
                    continue
                if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name:
                    raise Refused("the payload has an entry with a path that is not allowed: %r" % entry.name)
                if not (entry.isreg() or entry.isdir()):
                    raise Refused("the payload has an entry that is no plain file: %r" % entry.name)
                if name in seen:
                    raise Refused("the payload has an entry twice: %r" % entry.name)
                seen.add(name)
                total += entry.size
                if len(seen) > FILES_LIMIT or total > UNPACKED_LIMIT:
                    raise Refused("the payload unpacks to more than %d files or bytes" % FILES_LIMIT)
                path = os.path.join(folder, *parts)
                if entry.isdir():
                    os.makedirs(path, exist_ok=True)
                    continue
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "xb") as target:
                    shutil.copyfileobj(archive.extractfile(entry), target)
                os.chmod(path, 0o755 if entry.mode & 0o100 else 0o644)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Refused("the payload can't be unpacked: %s" % error)


def check_sums(folder):
    """SHA256SUMS lists every file but itself, and every sum holds."""
    listed = {}
    try:
        with open(os.path.join(folder, "SHA256SUMS"), encoding="utf-8") as file:
            for line in file:
                match = re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(.+)\n", line)
                if not match or match.group(2) in listed:
                    raise Refused("SHA256SUMS: not a line of it: %r" % line)
                listed[match.group(2)] = match.group(1)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("SHA256SUMS: %s" % error)
    present = set()
    for parent, _, files in os.walk(folder):
        for name in files:
            present.add(os.path.relpath(os.path.join(parent, name), folder))
    present.discard("SHA256SUMS")
    for name in sorted(present ^ set(listed)):
        raise Refused("SHA256SUMS and the payload differ in %s" % name)
    if not listed:
        raise Refused("SHA256SUMS lists nothing")
    for name, wanted in sorted(listed.items()):
        with open(os.path.join(folder, name), "rb") as file:
            got = hashlib.sha256(file.read()).hexdigest()
        if got != wanted:
            raise Refused("%s: its sum is %s, SHA256SUMS says %s" % (name, got, wanted))


def check_images(folder, metadata):
    try:
        with open(os.path.join(folder, "images.json"), encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        raise Refused("images.json: %s" % error)
    mine = image_digests(document, "images.json")
    theirs = image_digests(metadata.get("images"), "the channel's metadata")
    for name in sorted(set(mine) | set(theirs)):
        if mine.get(name) != theirs.get(name):
            raise Refused("image %s: the payload has %s, the channel %s" % (name, mine.get(name), theirs.get(name)))


# The installation -------------------------------------------------------------------------------------------------------


def read_settings(path):
    settings = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                key, separator, value = line.rstrip("\n").partition("=")
                if separator:
                    settings[key] = value
    except FileNotFoundError:
        pass
    return settings


def refuse_older(prefix, options, metadata):
    """The newest serial that was ever installed of this channel is remembered, whatever `current` says."""
    seen = read_settings(serial_file(prefix, options)).get("SERIAL", "")
    serial = metadata.get("serial")
    if seen.isdigit() and type(serial) is int and serial < int(seen) and not options.allow_older:
        raise Refused(
            "channel %s is at serial %d, and %s was installed before. Use --allow-older if that is meant"
            % (options.channel, serial, seen)
        )


def serial_file(prefix, options):
    text = "%s/%s/%s:%s" % (options.registry, options.namespace, options.name, options.channel)
    return os.path.join(prefix, "seen", hashlib.sha256(text.encode()).hexdigest()[:16] + ".env")


def write_settings(path, settings):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as file:
        for key, value in settings.items():
            file.write("%s=%s\n" % (key, value))
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def link(prefix, name, target):
    temporary = os.path.join(prefix, ".%s.new" % name)
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, os.path.join(prefix, name))


def target_of(prefix, name):
    path = os.path.join(prefix, name)
    return os.readlink(path) if os.path.islink(path) else None


def switch(prefix, target):
    """First `previous`, then `current`: whenever it stops, `current` is a whole release."""
    now = target_of(prefix, "current")
    if now == target:
        return
    if now:
        link(prefix, "previous", now)
    link(prefix, "current", target)


def install(options):
    for value, pattern, what in (
        (options.namespace, NAME, "--namespace"),
        (options.name, NAME, "--name"),
        (options.channel, TAG, "--channel"),
    ):
        if not pattern.fullmatch(value):
            raise Refused("%s %s is not a valid name" % (what, value))
    prefix = options.prefix
    registry = Registry(options.registry, options.insecure_http)
    metadata, metadata_digest, repository = read_metadata(registry, options)
    refuse_older(prefix, options, metadata)
    digest = metadata["payload"]["digest"]
    what = "%s/%s@%s" % (registry.host, repository, digest)
    manifest, _ = registry.manifest(repository, digest)
    layer = layer_of(manifest, PAYLOAD, LAYER, what)
    releases = os.path.join(prefix, "releases")
    os.makedirs(releases, exist_ok=True)
    work = tempfile.mkdtemp(prefix=".new-", dir=releases)
    try:
        os.chmod(work, 0o755)
        payload = os.path.join(work, "payload")
        os.mkdir(payload)
        with tempfile.TemporaryFile(dir=releases) as file:
            registry.blob(repository, layer, LAYER_LIMIT, file)
            file.seek(0)
            unpack(file, payload)
        check_sums(payload)
        check_images(payload, metadata)
        settings = {
            "REGISTRY": options.registry,
            "NAMESPACE": options.namespace,
            "CHANNEL": options.channel,
            "VERSION": metadata["version"],
            "PAYLOAD_DIGEST": digest,
            "METADATA_DIGEST": metadata_digest,
        }
        if type(metadata.get("serial")) is int:
            settings["SERIAL"] = str(metadata["serial"])
        write_settings(os.path.join(work, "install.env"), settings)
        # One folder for each payload, channel and registry: what was there under this name is verified no more, but replaced.
        text = "\n".join(settings[key] for key in ("REGISTRY", "NAMESPACE", "CHANNEL", "VERSION", "PAYLOAD_DIGEST"))
        name = "%s-%s" % (metadata["version"], hashlib.sha256(text.encode()).hexdigest()[:12])
        path = os.path.join(releases, name)
        if os.path.lexists(path):
            old = tempfile.mkdtemp(prefix=".old-", dir=releases)
            os.rename(path, os.path.join(old, name))
            os.rename(work, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(work, path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    if "SERIAL" in settings:
        write_settings(serial_file(prefix, options), {"SERIAL": settings["SERIAL"]})
    switch(prefix, os.path.join("releases", name))
    os.makedirs(os.path.join(prefix, "bin"), exist_ok=True)
    link(os.path.join(prefix, "bin"), "containai", os.path.join("..", "current", "payload", "bin", "containai"))
    print("installed %s %s of channel %s" % (options.name, metadata["version"], options.channel))
    print("payload   %s" % digest)
    print("start     %s" % os.path.join(prefix, "bin", "containai"))


def rollback(prefix):
    previous, current = target_of(prefix, "previous"), target_of(prefix, "current")
    if not previous or not os.path.isdir(os.path.join(prefix, previous)):
        raise Refused("%s has no previous release to go back to" % prefix)
    check_sums(os.path.join(prefix, previous, "payload"))
    link(prefix, "current", previous)
    if current:
        link(prefix, "previous", current)
    print("current is %s again" % os.path.basename(previous))


def main():
    default = "/opt/containai" if os.geteuid() == 0 else os.path.expanduser("~/.local/share/containai")
    parser = argparse.ArgumentParser(prog="install.sh", description="Install containai from a registry, verified.")
    parser.add_argument("--registry", default="ghcr.io", help="host, with a port if need be (default: %(default)s)")
    parser.add_argument("--namespace", help="the owner of the packages, such as an organisation")
    parser.add_argument("--channel", default="prod", help="prod, nightly, dev or a release tag's channel (default: prod)")
    parser.add_argument("--name", default="containai", help="the project's name (default: %(default)s)")
    parser.add_argument("--prefix", default=default, help="where to install (default: %(default)s)")
    parser.add_argument("--insecure-http", action="store_true", help="no TLS; for a registry on this machine only")
    parser.add_argument("--allow-older", action="store_true", help="take a channel that went back behind what was seen")
    parser.add_argument("--rollback", action="store_true", help="go back to the release before; nothing is downloaded")
    options = parser.parse_args()
    if not options.rollback and not options.namespace:
        parser.error("--namespace is needed")
    options.prefix = os.path.abspath(options.prefix)
    try:
        os.makedirs(options.prefix, exist_ok=True)
        with open(os.path.join(options.prefix, ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rollback(options.prefix) if options.rollback else install(options)
    except (Refused, OSError) as error:
        print("install.sh: %s" % error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
PYTHON
