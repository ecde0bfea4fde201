"""What a phone's camera sees: a QR code as a terminal draws it, as a film of one picture (YUV4MPEG2, which Chromium reads from a file)."""

import re

WIDTH, HEIGHT = 640, 480
SCALE = 6  # pixels for one square
# Luma of a screen's white and black, as a camera sees them, and of the room around.
WHITE, BLACK, ROOM = 225, 30, 120
# The two squares above one another in one character, `1` dark: the terminal draws black on white.
BLOCKS = {" ": "00", "▀": "10", "▄": "01", "█": "11"}


def drawn(terminal):
    """The squares of the QR code that a program draws next in half blocks. It is square, and nothing may come after it for a while."""
    rows, side = [], 2
    while len(rows) < side - 1:
        line = re.fullmatch("\x1b\\[30;47m([ ▀▄█]+)\x1b\\[0m", terminal.until("\n"))[1]
        side = len(line)
        rows += ["".join(BLOCKS[block][half] for block in line) for half in (0, 1)]
    return rows


def film(path, rows=("0",)):
    """Writes a film of these squares in the middle of a grey room."""
    wide, high = len(rows[0]) * SCALE, len(rows) * SCALE
    assert wide <= WIDTH and high <= HEIGHT, f"{wide}x{high} does not fit"
    left, top = (WIDTH - wide) // 2, (HEIGHT - high) // 2
    luma = bytearray([ROOM]) * (WIDTH * HEIGHT)
    for y, row in enumerate(rows):
        pixels = b"".join(bytes([BLACK if square == "1" else WHITE]) * SCALE for square in row)
        for line in range(SCALE):
            at = (top + y * SCALE + line) * WIDTH + left
            luma[at:at + wide] = pixels
    frame = b"FRAME\n" + luma + bytes([128]) * (WIDTH * HEIGHT // 2)
    # More than one, since a reader may want to look ahead.
    path.write_bytes(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F10:1 Ip A1:1 C420jpeg\n".encode() + 5 * frame)
