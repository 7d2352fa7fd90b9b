#!/bin/sh
# Unpacks Debian's adb and adbd 34 below a folder, and as root installs a compiler for arm64. Changes
# nothing else: lists and sources of packages are its own.
set -eu
folder=$1
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/packages"
folder=$(cd "$folder" && pwd)
uri=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep debian | grep -v security | head -n 1)
[ -n "$uri" ] || { echo "no Debian here" >&2; exit 1; }
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
key=/usr/share/keyrings/debian-archive-keyring.gpg
cat > "$folder/apt/sources.list" <<END
deb [signed-by=$key] $uri $suite main
deb [signed-by=$key] $uri $suite-backports main
END
cat > "$folder/apt/apt.conf" <<END
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt/cache";
APT::Sandbox::User "";
END
APT_CONFIG=$folder/apt/apt.conf
export APT_CONFIG
apt-get -qq update
cd "$folder/packages"
rm -f ./*.deb
android="adb adbd android-liblog android-libbase android-libboringssl android-libcutils android-libziparchive"
# Of backports, where they are newer than what the system itself has.
apt-get -qq download -t "$suite-backports" $android || apt-get -qq download $android
protobuf=$(dpkg-deb -f adb_*.deb Depends | tr ',|' '\n' | sed -n 's/^ *\(libprotobuf[^ ]*\).*/\1/p')
apt-get -qq download $protobuf libusb-1.0-0
for package in *.deb; do dpkg-deb -x "$package" "$folder/root"; done
if [ "$(id -u)" = 0 ] && ! command -v aarch64-linux-gnu-g++ >/dev/null; then
    apt-get -qq -y --no-install-recommends install g++-aarch64-linux-gnu </dev/null ||
        echo "no compiler for arm64" >&2
fi
