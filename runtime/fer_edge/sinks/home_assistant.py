"""Home Assistant's MQTT discovery: what to announce so that the sensors appear there by themselves.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from typing import Any

from fer_edge import __version__
from fer_edge.identity import distinct_slug
from fer_edge.sinks.mqtt_topics import Topics
from fer_edge.tasks import NOTHING

MODEL = "fer-edge"
# More are too long a list for anybody to choose from, and a large message.
_MOST_OPTIONS = 250

_SENSORS: dict[str, dict[str, Any]] = {
    "expression": {
        "name": "Expression",
        "from": lambda topics: topics.state,
        # Home Assistant takes no state of more than 255 characters.
        "value_template": "{{ (value_json.expression or 'none')[:255] }}",
        "icon": "mdi:emoticon-outline",
    },
    "faces": {
        "name": "Faces",
        "from": lambda topics: topics.state,
        "value_template": "{{ value_json.faces }}",
        "state_class": "measurement",
        "icon": "mdi:account-multiple-outline",
    },
    "fps": {
        "name": "Frame rate",
        "from": lambda topics: topics.stats,
        "value_template": "{{ value_json.fps }}",
        "unit_of_measurement": "FPS",
        "state_class": "measurement",
        "entity_category": "diagnostic",
    },
    "temperature": {
        "name": "Board temperature",
        "from": lambda topics: topics.stats,
        "value_template": "{{ value_json.temp_c }}",
        "unit_of_measurement": "°C",
        "device_class": "temperature",
        "state_class": "measurement",
        "entity_category": "diagnostic",
    },
}


def discovery(topics: Topics, expressions: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Configuration payloads by topic for the sensors of `topics`; distinct for distinct prefixes.

    `expressions` are all that the model may say; then automations offer them to choose from.
    """
    node = distinct_slug(topics.prefix)
    device = {"identifiers": [node], "name": topics.prefix, "model": MODEL, "sw_version": __version__}
    return {
        f"homeassistant/sensor/{node}/{key}/config": {
            **{name: value for name, value in sensor.items() if name != "from"},
            **(_choice(expressions) if key == "expression" else {}),
            "unique_id": f"{node}_{key}",
            "state_topic": sensor["from"](topics),
            "availability_topic": topics.available,
            "device": device,
        }
        for key, sensor in _SENSORS.items()
    }


def _choice(expressions: tuple[str, ...]) -> dict[str, Any]:
    """Keys of a sensor with a fixed set of states (device class `enum`), none of them twice."""
    options = list(dict.fromkeys((*expressions, NOTHING)))
    return {"device_class": "enum", "options": options} if 1 < len(options) <= _MOST_OPTIONS else {}
