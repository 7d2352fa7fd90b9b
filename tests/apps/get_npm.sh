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
        # shellcheck disable=SC2086 - several words
        { apt-get -qq update && apt-get -qq -y --no-install-recommends install $wanted; } </dev/null ||
            echo "not all of$wanted can be had: tests that need them are skipped" >&2
    fi
fi
part=$folder/part # until all is there: what is ended on its way is no folder of packages
rm -rf "$part"
mkdir -p "$part"
packages=$(sed -n 's/.*"packages": {\(.*\)}.*/\1/p' "$runtimes"/*/runtime.json | tr -d ' "' | tr ',:' ' @')
browser=$(sed -n 's/.*"playwright-core": "\(.*\)".*/\1/p' "$runtimes/../../__init__.py")
cd "$part"
echo '{"private": true}' > package.json
# shellcheck disable=SC2086 - several words
npm install --no-audit --no-fund --save-exact $packages "playwright-core@$browser"
cd ..
rm -rf node_modules
mv part/node_modules .
rm -rf part
