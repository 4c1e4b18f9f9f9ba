package webapp

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// square is a QR code as one SVG path.
type square struct {
	Size int // modules of a side, with the quiet zone around
	Path string
}

// quiet is the width of the empty frame that readers need, in modules (ISO/IEC 18004, 5.3.8).
const quiet = 4

// qrOf draws text. Each run of dark modules in a row is one rectangle.
func qrOf(text string) (*square, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, fmt.Errorf("draw QR code: %w", err)
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, x-from, x-from)
			}
		}
	}
	return &square{Size: code.Size + 2*quiet, Path: path.String()}, nil
}
