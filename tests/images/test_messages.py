"""What engines say when an image cannot be pulled, and what it means; no engine is needed."""

from __future__ import annotations

import pytest

from harness.errors import LabFailure
from harness.images.sources import NoRegistry, NoSuchImage, RateLimited, _pull_failure

HUB = "https://registry-1.docker.io/v2/"
SPACE = "failed to register layer: write /var/lib/docker/tmp/x: no space left on device"
NO_TAG = "manifest for rabbitmq:5 not found: manifest unknown: manifest unknown"
NO_NAME = (
    "pull access denied for nosuch, repository does not exist or may require 'docker login': denied: requested access "
    "to the resource is denied"
)
LIMIT = "toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating"
OTHER = "no matching manifest for linux/arm64/v8 in the manifest list entries"


@pytest.mark.parametrize(
    ("reference", "text", "kind"),
    [
        ("rabbitmq:4", f'Get "{HUB}": Forbidden', NoRegistry),
        ("rabbitmq:4", f'Get "{HUB}": Proxy Authentication Required', NoRegistry),
        ("rabbitmq:4", f'Get "{HUB}": dial tcp 1.2.3.4:443: connect: permission denied', NoRegistry),
        ("rabbitmq:4", f'Get "{HUB}": dial tcp: lookup registry-1.docker.io: no such host', NoRegistry),
        ("rabbitmq:4", f'Get "{HUB}": unexpected EOF', NoRegistry),
        ("rabbitmq:4", f'Get "{HUB}": http: server closed idle connection', NoRegistry),
        ("eofbus:1", f'failed to do request: Head "{HUB}library/eofbus/manifests/1": EOF', NoRegistry),
        ("eofbus:1", "docker.io/library/eofbus:1: not found", NoSuchImage),
        ("quay.io/eof/x509:1", 'failed to resolve reference "quay.io/eof/x509:1": not found', NoSuchImage),
        ("a.b:5000/certificate/eof:1", "manifest for a.b:5000/certificate/eof:1 not found", NoSuchImage),
        ("rabbitmq:5", NO_TAG, NoSuchImage),
        ("nosuch", NO_NAME, NoSuchImage),
        ("q.io/a/b:1", 'Get "https://q.io/v2/": unauthorized: authentication required', NoSuchImage),
        ("rabbitmq:4", LIMIT, RateLimited),
        ("rabbitmq:4", OTHER, NoSuchImage),
        ("rabbitmq:4", SPACE, LabFailure),
    ],
)
def test_each_message_is_what_it_says(reference: str, text: str, kind: type[LabFailure]) -> None:
    failure = _pull_failure(reference, text)
    assert type(failure) is kind
    assert text in failure.what
    assert failure.remedy


def test_a_full_disk_a_limit_and_another_processor_have_words_of_their_own() -> None:
    assert "images prune" in str(_pull_failure("rabbitmq:4", SPACE).remedy)
    assert "gives no more for now" in _pull_failure("rabbitmq:4", LIMIT).what
    assert "not for this machine's processor" in _pull_failure("rabbitmq:4", OTHER).what
