#!/bin/sh
# Installs below a folder the npm packages that apps for browsers name, and as root on Debian node,
# Chromium, and what apps in C++ are built with, where they are missing.
set -eu
folder=$1
runtimes=$(dirname "$0")/../../edgekit/apps/web/template/runtimes
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    wanted=
    command -v npm >/dev/null || wanted="nodejs npm"
    [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || wanted="$wanted chromium fonts-dejavu-core"
    for name in cmake g++ make; do
        command -v $name >/dev/null || wanted="$wanted $name"
    done
    command -v aarch64-linux-gnu-g++ >/dev/null || wanted="$wanted g++-aarch64-linux-gnu"
    [ -e /usr/include/png.h ] || wanted="$wanted libpng-dev"
    [ -e /usr/include/jpeglib.h ] || wanted="$wanted libjpeg-dev"
    if [ -n "$wanted" ]; then
        apt-get -qq update </dev/null
        # shellcheck disable=SC2086 - several words
        apt-get -qq -y --no-install-recommends install $wanted </dev/null
    fi
fi
mkdir -p "$folder"
packages=$(sed -n 's/.*"packages": {\(.*\)}.*/\1/p' "$runtimes"/*/runtime.json | tr -d ' "' | tr ',:' ' @')
browser=$(sed -n 's/.*"playwright-core": "\(.*\)".*/\1/p' "$runtimes/../../__init__.py")
cd "$folder"
[ -e package.json ] || echo '{"private": true}' > package.json
# shellcheck disable=SC2086 - several words
npm install --no-audit --no-fund --save-exact $packages "playwright-core@$browser"
