"""The stacks that come with the harness, in one list. A scenario may name these or describe its own."""

from __future__ import annotations

from harness.model.stack import Driver, StackSpec

__all__ = ["SHIPPED", "shipped_stack"]

# Everything the clients pull in, as one resolution for Python 3.11 to 3.13, so that two stacks differ only in what
# their names say. Resolved from the requirements below in November 2026.
_PULLED_IN = (
    "bcrypt==5.0.0",
    "cachetools==8.0.1",
    "certifi==2026.10.18",
    "cffi==2.1.1",
    "charset-normalizer==3.5.2",
    "debtcollector==3.1.0",
    "dnspython==2.9.2",
    "eventlet==0.41.3",
    "fasteners==0.20",
    "futurist==3.5.0",
    "greenlet==3.5.6",
    "idna==3.20",
    "iso8601==2.1.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "msgpack==1.2.4",
    "netaddr==1.3.0",
    "oslo-concurrency==7.6.1",
    "oslo-config==10.7.0",
    "oslo-context==6.5.0",
    "oslo-i18n==6.9.0",
    "oslo-log==8.3.2",
    "oslo-metrics==0.17.0",
    "oslo-middleware==8.2.0",
    "oslo-serialization==5.11.0",
    "oslo-service==4.8.0",
    "oslo-utils==10.2.0",
    "packaging==26.3",
    "paste==3.10.1",
    "pastedeploy==3.1.0",
    "pbr==7.1.3",
    "prometheus-client==0.26.0",
    "psutil==7.2.2",
    "pycparser==3.12",
    "pyparsing==3.3.3",
    "python-dateutil==4.0.0",
    "pyyaml==6.0.3",
    "repoze-lru==0.8",
    "requests==2.34.2",
    "rfc3986==2.0.0",
    "routes==2.5.1",
    "six==1.17.0",
    "statsd==4.0.1",
    "stevedore==5.10.0",
    "typing-extensions==4.16.0",
    "tzdata==2026.6",
    "urllib3==2.8.0",
    "vine==5.1.0",
    "webob==1.8.11",
    "wrapt==2.5.2",
    "yappi==1.7.6",
)

# AMQP 0-9-1: kombu and its transport.
_KOMBU = ("kombu==5.7.0", "amqp==5.4.2")

# AMQP 1.0. The proton binding is compiled from its source distribution: it needs a C compiler and the headers of
# OpenSSL and Cyrus SASL. pkg_resources, which older clients import, left setuptools in release 80.
_PROTON = ("python-qpid-proton==0.40.0",)
_PKG_RESOURCES = ("setuptools==79.0.1",)

# One malloc arena makes native growth readable, and the allocator Python uses is said, not assumed.
_ENV = {"MALLOC_ARENA_MAX": "1", "PYTHONMALLOC": "pymalloc"}

#: Releases of oslo.messaging for comparing release with release: the last of each line that changed its drivers, and
#: those on either side of what is known to have changed (14.8.0 and 18.1.0: the reply waiter; 15.0.0: no amqp1).
_RABBIT_RELEASES = ("12.14.0", "14.0.3", "14.4.2", "14.8.1", "14.9.3", "15.0.0", "16.1.2", "17.3.2", "18.0.0")
_AMQP1_RELEASES = ("12.14.0", "14.0.3", "14.4.2", "14.8.1", "14.9.3")


def _release(version: str, driver: Driver) -> StackSpec:
    """A release with everything else as in the other stacks, so that only the release differs."""
    wire = (*_PROTON, "pyngus==2.3.1") if driver == "amqp1" else ()
    return StackSpec(
        name=f"oslo-{version}-{driver}",
        requirements=(f"oslo.messaging=={version}", *_KOMBU, *wire, *_PKG_RESOURCES),
        constraints=_PULLED_IN,
        driver=driver,
        adapters=("oslo", "proton", "pyngus", "loopback") if driver == "amqp1" else ("oslo", "kombu", "loopback"),
        env=_ENV,
    )


#: Every shipped stack. The two 14.7.3 stacks are the fair pair: the same client release on both wires (the last
#: release line with both drivers and without the polling reply waiter of 14.8 to 18.0).
SHIPPED: tuple[StackSpec, ...] = (
    StackSpec(
        name="oslo-14.7.3-rabbit",
        requirements=("oslo.messaging==14.7.3", *_KOMBU, *_PKG_RESOURCES),
        constraints=_PULLED_IN,
        driver="rabbit",
        adapters=("oslo", "kombu", "loopback"),
        env=_ENV,
    ),
    StackSpec(
        name="oslo-14.7.3-amqp1",
        requirements=("oslo.messaging==14.7.3", *_KOMBU, *_PROTON, "pyngus==2.3.1", *_PKG_RESOURCES),
        constraints=_PULLED_IN,
        driver="amqp1",
        adapters=("oslo", "proton", "pyngus", "loopback"),
        env=_ENV,
    ),
    StackSpec(
        name="oslo-18.3.1-rabbit",
        requirements=("oslo.messaging==18.3.1", *_KOMBU, *_PKG_RESOURCES),
        constraints=_PULLED_IN,
        driver="rabbit",
        adapters=("oslo", "kombu", "loopback"),
        env=_ENV,
    ),
    StackSpec(
        name="proton",
        requirements=_PROTON,
        constraints=_PULLED_IN,
        driver="amqp1",
        adapters=("proton", "loopback"),
        env=_ENV,
    ),
    StackSpec(name="loopback", env=_ENV),
    *(_release(version, "rabbit") for version in _RABBIT_RELEASES),
    *(_release(version, "amqp1") for version in _AMQP1_RELEASES),
)


def shipped_stack(name: str) -> StackSpec:
    """The shipped stack of that name. Raises KeyError."""
    for spec in SHIPPED:
        if spec.name == name:
            return spec
    raise KeyError(name)
