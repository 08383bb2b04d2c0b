"""Light an LED while somebody looks happy: python examples/led_on_smile.py SOURCE GPIO_PIN.

Elsewhere than on a Raspberry Pi, GPIOZERO_PIN_FACTORY=mock tries it without pins.
"""

import sys
from collections.abc import Callable, Iterable

from gpiozero import LED

import fer_edge


def watch(results: Iterable[fer_edge.FrameResult], expression: str, changed: Callable[[bool], None]) -> None:
    """Call `changed` with true when the first face shows `expression`, and with false when the last one stops."""
    shown = False
    for result in results:
        now = any(face.expression == expression for face in result.faces)
        if now != shown:
            shown = now
            changed(now)


if __name__ == "__main__":
    led = LED(int(sys.argv[2]))

    def switch(on: bool) -> None:
        """Set the LED, and say so."""
        (led.on if on else led.off)()
        print("on" if led.is_lit else "off", flush=True)

    watch(fer_edge.Recognizer().stream(sys.argv[1]), "happy", switch)
