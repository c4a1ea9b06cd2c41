#!/bin/sh
# Write the agents' configuration files from config.toml if one is mounted, then become the given command, unchanged.
set -eu

config=${CONTAINAI_CONFIG:-/etc/containai/config.toml}
if [ -e "$config" ]; then
    containai-config --config "$config"
elif [ -n "${CONTAINAI_CONFIG:-}" ]; then
    echo "containai: CONTAINAI_CONFIG names $config, which is not there" >&2
    exit 1
fi

exec "$@"
