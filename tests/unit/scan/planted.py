"""Twenty kinds of secret, made up when they are needed: none of them stands in a file of this repository."""

from __future__ import annotations

import base64
import json
import random
import string
import zlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

ALNUM = string.ascii_letters + string.digits
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + "234567"


@dataclass(frozen=True)
class Planted:
    """A secret of a kind, the file that it is in, and a text that must never be printed."""

    kind: str
    path: str
    content: bytes
    secret: str


def planted(seed: int = 1) -> list[Planted]:
    """One of each kind; another seed makes others."""
    chance = random.Random(seed)

    def word(length: int, alphabet: str = ALNUM) -> str:
        return "".join(chance.choice(alphabet) for _ in range(length))

    def github() -> str:
        body = word(30)
        crc, check = zlib.crc32(body.encode()), ""
        for _ in range(6):
            crc, rest = divmod(crc, 62)
            check = BASE62[rest] + check
        return f"ghp_{body}{check}"

    def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, kind: serialization.PrivateFormat) -> str:
        return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()

    def part(document: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    server = pem(rsa.generate_private_key(65537, 2048), serialization.PrivateFormat.TraditionalOpenSSL)
    cloud = pem(rsa.generate_private_key(65537, 2048), serialization.PrivateFormat.PKCS8)
    shell = pem(ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.OpenSSH)
    aws, aws_secret = "AKIA" + word(16, UPPER), word(40, ALNUM + "+/")
    hub, lab = github(), "glpat-" + word(20)
    slack = f"xoxb-{word(12, string.digits)}-{word(13, string.digits)}-{word(24)}"
    hook = f"https://hooks.slack.com/services/T{word(10, UPPER)}/B{word(10, UPPER)}/{word(24)}"
    stripe, google, npm = "sk_live_" + word(24), "AIza" + word(35, ALNUM + "-_"), "npm_" + word(36)
    azure = base64.b64encode(chance.randbytes(64)).decode()
    pypi, mail = "pypi-AgEIcHlwaS5vcmc" + word(80), f"SG.{word(22)}.{word(43)}"
    twilio = word(32, HEX)
    docker = base64.b64encode(f"builder:{word(24)}".encode()).decode()
    password = f"{word(9)}#{word(7)}9!"
    database, agent = word(20), "sk-ant-api03-" + word(93, ALNUM + "-_") + "AA"
    token = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': word(10), 'iat': 1516239022})}.{word(43)}"
    account = {"type": "service_account", "private_key": cloud, "client_email": "svc@p-1.iam.gserviceaccount.com"}

    pair = f"aws_access_key_id = {aws}\naws_secret_access_key = {aws_secret}\n"
    storage = f"CONNECTION=DefaultEndpointsProtocol=https;AccountName=store1;AccountKey={azure}\n"
    login = json.dumps({"auths": {"registry.example.org": {"auth": docker}}})
    url = f"DATABASE_URL=postgres://app:{database}@db.internal.acme.io:5432/app\n"

    def one(kind: str, path: str, text: str, secret: str) -> Planted:
        return Planted(kind, path, text.encode(), secret)

    return [
        one("aws", "root/.aws/credentials", pair, aws_secret),
        one("github", "root/.git-credentials", f"https://bot:{hub}@github.com\n", hub),
        one("gitlab", "etc/ci/gitlab.env", f"GITLAB_TOKEN={lab}\n", lab),
        one("slack-token", "srv/app/slack.json", json.dumps({"token": slack}), slack),
        one("slack-webhook", "srv/app/notify.sh", f"curl -d x {hook}\n", hook),
        one("stripe", "srv/app/billing.py", f'stripe.api_key = "{stripe}"\n', stripe),
        one("google", "srv/app/maps.js", f'const key = "{google}";\n', google),
        one("gcp", "etc/gcp/key.json", json.dumps(account, indent=1), cloud.splitlines()[3]),
        one("azure", "etc/app/azure.conf", storage, azure),
        one("npm", "root/.npmrc", f"//registry.npmjs.org/:_authToken={npm}\n", npm),
        one("pypi", "root/.pypirc", f"[pypi]\nusername = __token__\npassword = {pypi}\n", pypi),
        one("rsa-key", "etc/ssl/private/server.key", server, server.splitlines()[3]),
        one("ssh-key", "root/.ssh/id_ed25519", shell, shell.splitlines()[2]),
        one("jwt", "srv/app/session.txt", f"Authorization: Bearer {token}\n", token),
        one("sendgrid", "srv/app/mail.yml", f"sendgrid:\n  api_key: {mail}\n", mail),
        one("twilio", "srv/app/twilio.env", f"TWILIO_AUTH_TOKEN={twilio}\n", twilio),
        one("docker-login", "root/.docker/config.json", login, docker),
        one("password", "etc/app/settings.ini", f'[db]\npassword = "{password}"\n', password),
        one("database", "srv/app/.env", url, database),
        one("anthropic", "srv/app/agent.toml", f'api_key = "{agent}"\n', agent),
    ]  # fmt: skip
