#!/bin/sh
# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Makes sure that what the given purpose needs from Debian or Ubuntu is there: run | test | fuzz.
# As root it installs what is missing; otherwise it prints the line to type and exits 2.
set -eu

purpose=${1:-run}
python=${PYTHON:-python3}
missing=

need() { # need PACKAGE command...: PACKAGE is missing unless the command succeeds
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

# debootstrap leaves /usr/sbin out of the path of some shells; ip and friends live there.
PATH=$PATH:/usr/sbin:/sbin

need python3 "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
need python3-venv "$python" -c 'import ensurepip, venv'
# pytricia is compiled on this machine: a compiler and Python's headers.
need python3-dev "$python" -c \
    'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
need gcc sh -c 'command -v cc || command -v gcc'
need libc6-dev sh -c 'test -e /usr/include/stdlib.h'
# Wheels and feeds come over https.
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
if [ "$purpose" = test ]; then
    need openssl sh -c 'command -v openssl'
    need curl sh -c 'command -v curl'
    need iproute2 sh -c 'command -v ip'
    need tshark sh -c 'command -v tshark'
    # The lab: real switches in network namespaces, which only root may make.
    if [ "$(id -u)" = 0 ]; then
        need openvswitch-switch sh -c 'command -v ovs-vswitchd'
        need nftables sh -c 'command -v nft'
        need tcpdump sh -c 'command -v tcpdump'
        need ethtool sh -c 'command -v ethtool'
        need iputils-ping sh -c 'command -v ping'
    fi
    # Not PostgreSQL: it takes 170 MB, and its package starts a server. tests/lab/test_postgres.py is skipped without it.
fi
# Coverage of compiled code; the fuzzer itself comes with atheris.
[ "$purpose" != fuzz ] || need clang sh -c 'command -v clang'

[ -n "$missing" ] || exit 0
line="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    $line >&2
    exit 0
fi
echo "Missing here:$missing" >&2
echo "Type this, then the same make command again:" >&2
echo "    sudo apt-get update && sudo $line" >&2
exit 2
