package webapp

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

var screens = flag.String("screens", "", "folder into which TestScreenshots writes every screen")

// TestScreenshots writes every screen as a person sees it: in both languages and themes, on a phone and on a desktop, and
// the whole page where the phone does not show all of it at once.
func TestScreenshots(t *testing.T) {
	if *screens == "" {
		t.Skip("writes pictures for people; give -screens DIR, or make screenshots")
	}
	check(t, os.MkdirAll(*screens, 0o755))
	everyScene(t, false, func(_ *testing.T, s *stage, i int) {
		name := strings.ReplaceAll(strings.ReplaceAll(scenes[i].name, ",", ""), " ", "-")
		s.pictures(filepath.Join(*screens, fmt.Sprintf("%02d-%s-%s", i+1, name, s.lang)))
	})
}

// pictures writes one screen in every theme and size.
func (s *stage) pictures(prefix string) {
	s.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		s.screen(1280, 900, theme)
		s.picture(prefix + "-" + theme + "-desktop.png")
		s.screen(390, 844, theme)
		s.picture(prefix + "-" + theme + "-phone.png")
		if tall := evaluate[int64](s.chromium, "document.documentElement.scrollHeight"); tall > 844 {
			s.screen(390, tall, theme)
			s.picture(prefix + "-" + theme + "-phone-whole.png")
		}
	}
}

func (s *stage) picture(path string) {
	s.t.Helper()
	png, err := chromedp.Run(s.ctx, chromedp.CaptureScreenshot())
	check(s.t, err)
	check(s.t, os.WriteFile(path, png, 0o644))
}
