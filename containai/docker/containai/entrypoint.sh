#!/bin/sh
# Write the agents' configuration files from config.toml if one is mounted, trust the proxy's authority if it is mounted,
# then become the given command, unchanged.
set -eu

config=${CONTAINAI_CONFIG:-/etc/containai/config.toml}
if [ -e "$config" ]; then
    containai-config --config "$config"
elif [ -n "${CONTAINAI_CONFIG:-}" ]; then
    echo "containai: CONTAINAI_CONFIG names $config, which is not there" >&2
    exit 1
fi

# Programs read one bundle, so the proxy's authority and Debian's go into one.
authority=/etc/containai/proxy-ca.crt
if [ -e "$authority" ]; then
    bundle="$HOME/.config/containai/ca-bundle.crt"
    mkdir -p "${bundle%/*}"
    cat /etc/ssl/certs/ca-certificates.crt "$authority" > "$bundle.$$"
    mv "$bundle.$$" "$bundle"
    export SSL_CERT_FILE="$bundle" CURL_CA_BUNDLE="$bundle" GIT_SSL_CAINFO="$bundle" REQUESTS_CA_BUNDLE="$bundle" \
        PIP_CERT="$bundle" NODE_EXTRA_CA_CERTS="$authority"
fi

exec "$@"
