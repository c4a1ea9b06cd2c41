#!/bin/sh
# proxy (default)  write the configuration from the environment, check it, start Squid
# check            write the configuration, check it, stop
# ready            a probe: succeeds if the proxy of this container accepts connections
# anything else    becomes that command, arguments unchanged: `squid -v` needs neither a certificate nor settings
#
# SQUID_ALLOWED_DOMAINS  required: names separated by commas or spaces; `.example.com` and `*.example.com` mean the name
#                        and all below it; a single `*` allows every public destination
# SQUID_MODE             intercept (default): TLS is opened with the authority at /etc/squid/mitm/ca.crt and ca.key, and
#                        every request is checked. Without that authority the proxy refuses to start.
#                        tunnel: TLS passes unopened; only the names in CONNECT are checked
# SQUID_UPSTREAM_CA      a bundle of authorities that servers may have, beside Debian's own
# SQUID_LOG_BYTES        the logs are rotated above this size (default 16777216); two old ones are kept
set -eu

run=/run/squid
mitm=/etc/squid/mitm
certgen=/usr/lib/squid/security_file_certgen

fail() {
    echo "containai-proxy: $*" >&2
    exit 1
}

write_domains() {
    [ -n "${SQUID_ALLOWED_DOMAINS:-}" ] ||
        fail "SQUID_ALLOWED_DOMAINS is not set. Name the domains (github.com,.npmjs.org), or * for every public one"
    # A name that another entry covers is left out: Squid takes such a pair for a mistake.
    printf '%s\n' "$SQUID_ALLOWED_DOMAINS" | tr ', \t' '\n\n\n' | awk '
        $0 == "" { next }
        { name = tolower($0); sub(/^\*\./, ".", name); sub(/\.$/, "", name) }
        name !~ /^\.?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/ {
            print "containai-proxy: SQUID_ALLOWED_DOMAINS: \"" $0 "\" is not a domain" > "/dev/stderr"
            bad = 1
            exit
        }
        { names[name] = 1 }
        END {
            if (bad) exit 1
            for (name in names) {
                rest = (name ~ /^\./) ? substr(name, 2) : "." name
                covered = 0
                while (match(rest, /\./)) {
                    parent = substr(rest, RSTART)
                    if (parent != name && parent in names) covered = 1
                    rest = substr(rest, RSTART + 1)
                }
                if (!covered) print name
            }
        }' > "$run/domains.new" || exit 1
    sort "$run/domains.new" > "$run/allowed-domains"
    rm -f "$run/domains.new"
    [ -s "$run/allowed-domains" ] || fail "SQUID_ALLOWED_DOMAINS names no domain"
}

write_configuration() {
    { mkdir -p "$run" && [ -w "$run" ]; } || fail "$run can't be written: mount a tmpfs there that user $(id -u) may write"
    if [ "${SQUID_ALLOWED_DOMAINS:-}" = '*' ]; then
        allowed='acl allowed_domains all-of all'
    else
        write_domains
        allowed="acl allowed_domains dstdomain -n \"$run/allowed-domains\""
    fi
    case "${SQUID_MODE:-intercept}" in
    intercept)
        for file in "$mitm/ca.crt" "$mitm/ca.key"; do
            [ -r "$file" ] || fail "$file can't be read. Mount the authority, or set SQUID_MODE=tunnel to do without"
        done
        port="http_port 3128 ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=4MB"
        port="$port tls-cert=$mitm/ca.crt tls-key=$mitm/ca.key"
        rm -rf "$run/certificates"
        "$certgen" -c -s "$run/certificates" -M 4MB > /dev/null
        ;;
    tunnel) port='http_port 3128' ;;
    *) fail "SQUID_MODE is '$SQUID_MODE'; it may be intercept or tunnel" ;;
    esac
    {
        echo "$port"
        echo "$allowed"
        if [ "${SQUID_MODE:-intercept}" = intercept ]; then
            echo "sslcrtd_program $certgen -s $run/certificates -M 4MB"
            echo 'sslcrtd_children 4 startup=1 idle=1'
            echo 'acl tls_hello at_step SslBump1'
            echo 'ssl_bump peek tls_hello'
            echo 'ssl_bump bump all'
            echo 'tls_outgoing_options options=NO_SSLv3,NO_TLSv1,NO_TLSv1_1'
            if [ -n "${SQUID_UPSTREAM_CA:-}" ]; then
                [ -r "$SQUID_UPSTREAM_CA" ] || fail "SQUID_UPSTREAM_CA: $SQUID_UPSTREAM_CA can't be read"
                echo "tls_outgoing_options cafile=$SQUID_UPSTREAM_CA"
            fi
        fi
        echo 'include /etc/squid/rules.conf'
    } > "$run/squid.conf"
    squid -k parse -f "$run/squid.conf" 2> "$run/parse.log" || {
        cat "$run/parse.log" >&2
        fail "the configuration does not parse"
    }
    if grep -E 'ERROR|FATAL|WARNING|aclParse' "$run/parse.log" >&2; then
        fail "the configuration parses with the remarks above"
    fi
}

# Keeps the logs within their tmpfs for as long as Squid, which has this shell's process id, is there.
rotate_log() {
    while sleep 10 && kill -0 "$1" 2> /dev/null; do
        for log in /var/log/squid/access.log /var/log/squid/cache.log; do
            size=$(stat -c %s "$log" 2> /dev/null || echo 0)
            if [ "$size" -gt "${SQUID_LOG_BYTES:-16777216}" ]; then
                kill -USR1 "$1"
                break
            fi
        done
    done
}

case "${1:-proxy}" in
proxy)
    write_configuration
    (exec < /dev/null > /dev/null 2>&1; rotate_log "$$") &
    exec squid -N -d 1 -f "$run/squid.conf"
    ;;
check)
    write_configuration
    echo "containai-proxy: the configuration is good"
    ;;
ready) exec bash -c 'exec 3<> /dev/tcp/127.0.0.1/3128' 2> /dev/null ;;
*) exec "$@" ;;
esac
