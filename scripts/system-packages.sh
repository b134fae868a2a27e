#!/bin/sh
# Installs the system packages the harness needs and this machine lacks (Debian and its relatives; elsewhere it says
# what to install): as root, or by sudo where it asks for no password. Usage: scripts/system-packages.sh run|test|bench
#
# A freshly installed RabbitMQ or registry would start its service at once; that is prevented while installing, because
# the harness runs private brokers of its own and a service nobody asked for should not appear.
set -eu

purpose=${1:-run}
missing=

need() { # need PACKAGE TEST...: the package is missing if the test fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

program() { # a program on PATH or in the system directories an ordinary user's PATH may lack
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1"
}

header() { # a C header the compiler finds
    printf '#include <%s>\n' "$1" | ${CC:-cc} -E -x c - -o /dev/null
}

python=${PYTHON:-python3}
need util-linux program unshare
need iproute2 program ip
need iptables program iptables
need procps program sysctl
need iputils-ping program ping # doctor sends one packet from site to site
need libssl-dev header openssl/ssl.h
need libsasl2-dev header sasl/sasl.h
need python3-venv "$python" -c 'import ensurepip, venv'
need python3-dev "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
if [ -z "${HARNESS_RABBITMQ_SERVER:-}" ]; then
    need rabbitmq-server sh -c 'PATH="$PATH:/usr/sbin:/usr/lib/rabbitmq/bin:/opt/rabbitmq/sbin" command -v rabbitmq-server'
fi
if [ "$purpose" = test ]; then
    need chromium program chromium
    need chromium-driver program chromedriver
    # Debian's name for the program: elsewhere tests that want a registry of their own are skipped.
    ! command -v apt-get >/dev/null 2>&1 || need docker-registry program docker-registry
fi
if [ "$purpose" = bench ]; then
    need iperf3 program iperf3
fi

[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=
elif sudo -n true 2>/dev/null; then
    sudo=sudo
else
    sudo=none
fi
if [ "$sudo" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "system-packages: missing:$missing" >&2
    echo "  install them with your system's package manager (Debian's names; here: apt-get install$missing)" >&2
    exit 3
fi

echo "system-packages: installing$missing"
guard=
if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$guard" >/dev/null
    $sudo chmod 755 "$guard"
    trap '$sudo rm -f "$guard"' EXIT INT TERM
fi
log=$(mktemp)
if ! { $sudo apt-get -q update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "system-packages: apt-get failed; its last lines are above" >&2
    exit 3
fi
rm -f "$log"
