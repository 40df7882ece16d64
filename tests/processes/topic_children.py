"""What children do with the topics that they are given. A module of its own: spawned children import it by name."""

from __future__ import annotations

from typing import Any

from kinds import same

from samemap import Event, Latest, Topic


def echo(feeds: dict[str, Topic], messages: dict[str, Any], values: dict[str, Latest], ready: Event) -> None:
    """Receive one message of each topic, publish it again, and do so with the newest values."""
    subscriptions = {kind: feed.subscribe("block") for kind, feed in feeds.items()}
    ready.set()
    for kind, subscription in subscriptions.items():
        sample = subscription.recv(60)
        assert same(sample.value, messages[kind]), kind
        feeds[kind].publish(sample.value)
        assert feeds[kind].when_full == "raise"
    for kind, value in values.items():
        value.set(value.wait_newer(timeout=60))
        assert same(value.get(), messages[kind]), kind
