package webapp

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// axe is the checker of accessibility, as text to run in a page; nobody serves it.
func axe(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		err = fmt.Errorf("npm ci was not run in webapp/testdata/axe: %w", err)
	}
	required(t, "axe", err)
	return string(raw)
}

// checked runs axe with the tags of WCAG 2.0 to 2.2, A and AA, and returns a line for each violation.
const checked = `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], resultTypes: ['violations'] })
	.then((found) => JSON.stringify(found.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.html).join(' '))))`

func (c *chromium) violations(axe string) (found []string) {
	c.t.Helper()
	evaluate[bool](c, "scrollTo(0, document.body.scrollHeight), true") // the bar lies over nothing at the end of the page
	evaluate[bool](c, axe+"; true")
	check(c.t, json.Unmarshal([]byte(evaluate[string](c, checked)), &found))
	return found
}

// faint returns text that stands out from what is behind it by less than 4.5 to 1, whatever its size.
const faint = `(() => {
	const parse = (css) => {
		const n = css.match(/[\d.]+/g).map(Number);
		if (css.startsWith('color(')) return [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1];
		return [n[0], n[1], n[2], n[3] ?? 1];
	};
	const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
	const light = (rgb) => {
		const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const behind = (element) => {
		const layers = [];
		for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
		return layers.reduce((under, layer) => over(layer, under), over(parse(getComputedStyle(document.documentElement).backgroundColor), [255, 255, 255]));
	};
	const found = new Set();
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const element = walk.currentNode.parentElement;
		if (!walk.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true }) || element.closest('.sr, .skip, script')) continue;
		let opacity = 1;
		for (let e = element; e; e = e.parentElement) opacity *= Number(getComputedStyle(e).opacity);
		const ground = behind(element);
		const ink = parse(getComputedStyle(element).color);
		const [a, b] = [light(over([...ink.slice(0, 3), ink[3] * opacity], ground)), light(ground)].sort((x, y) => y - x);
		const ratio = (a + .05) / (b + .05);
		if (ratio < 4.5) found.add(ratio.toFixed(2) + ' ' + element.className + ' ' + walk.currentNode.data.trim().slice(0, 40));
	}
	return JSON.stringify([...found]);
})()`

// outside returns what reaches over the right edge, or is cut off by the box that it is in.
const outside = `(() => {
	const found = new Set();
	const wide = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > wide) found.add('scrolls: ' + document.documentElement.scrollWidth + ' > ' + wide);
	for (const e of document.body.querySelectorAll('*')) {
		if (!e.checkVisibility() || e.closest('.sr, .skip, svg')) continue;
		const name = e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 40);
		const box = e.getBoundingClientRect();
		if (box.right > wide + 1 || box.left < -1) found.add('over the edge: ' + name);
		const style = getComputedStyle(e);
		if (e.matches('input')) continue; // its words scroll inside
		if (style.overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1) found.add('cut off: ' + name);
		if (style.overflowY === 'hidden' && e.scrollHeight > e.clientHeight + 1) found.add('cut off below: ' + name);
	}
	return JSON.stringify([...found]);
})()`

func (c *chromium) finds(script string) (found []string) {
	c.t.Helper()
	check(c.t, json.Unmarshal([]byte(evaluate[string](c, script)), &found))
	return found
}

// unseen returns the selectors for which there is nothing to see.
func (c *chromium) unseen(selectors string) (missing []string) {
	c.t.Helper()
	for _, s := range strings.Split(selectors, " | ") {
		if !evaluate[bool](c, fmt.Sprintf(`[...document.querySelectorAll(%q)].some((e) => e.checkVisibility())`, s)) {
			missing = append(missing, s)
		}
	}
	return missing
}

// heads reports whether the one heading of the page holds a text of the catalogue, whatever fills its places.
func (s *stage) heads(key string) bool {
	s.t.Helper()
	heading := evaluate[string](s.chromium, `[...document.querySelectorAll('h1')].map((h) => h.textContent.trim().replace(/\s+/g, ' ')).join('\n\n')`)
	text, err := lookUp(s.lang, key)
	check(s.t, err)
	for _, part := range placeholder.Split(text, -1) {
		before, after, found := strings.Cut(heading, part)
		if !found || strings.Contains(before, "\n\n") {
			return false
		}
		heading = after
	}
	return true
}

// sizes are the other screens on which nothing may be lost: a small phone, a desktop, and a desktop at 400 % zoom.
var sizes = []struct {
	name          string
	width, height int64
	theme         string
}{{"320", 320, 640, "light"}, {"1280", 1280, 900, "dark"}, {"zoom 400 %", 320, 256, "light"}}

// everySize checks that nothing is lost on other screens, in the other theme, and with text of twice the size.
func (s *stage) everySize() {
	s.t.Helper()
	for _, size := range sizes {
		s.screen(size.width, size.height, size.theme)
		for _, v := range s.finds(outside) {
			s.t.Errorf("%s: %s", size.name, v)
		}
	}
	for _, theme := range []string{"light", "dark"} {
		s.screen(390, 844, theme)
		for _, v := range s.finds(faint) {
			s.t.Errorf("%s: %s", theme, v)
		}
	}
	evaluate[bool](s.chromium, "document.documentElement.style.fontSize = '200%', true")
	for _, v := range s.finds(outside) {
		s.t.Errorf("text 200 %%: %s", v)
	}
}

// Test 13: every screen in both languages, where axe is demanded, as before a change lands; elsewhere a sample of them.
func TestUX13EveryScreen(t *testing.T) {
	axe := axe(t)
	t.Parallel()
	everyScene(t, !demanded("axe"), func(t *testing.T, s *stage, i int) {
		sc := scenes[i]
		if !s.heads(sc.heading) {
			t.Fatalf("heading is not %q; the page says %q", sc.heading, evaluate[string](s.chromium, "document.body.innerText"))
		}
		if missing := s.unseen(frame + " | " + sc.has); len(missing) > 0 {
			t.Errorf("not to be seen: %q", missing)
		}
		for _, v := range s.violations(axe) {
			t.Errorf("axe: %s", v)
		}
		for _, v := range s.finds(small) {
			t.Errorf("small target: %s", v)
		}
		s.everySize()
	})
}

// The checks of [TestUX13EveryScreen] see what they are there for.
func TestUX13PlantedFaults(t *testing.T) {
	t.Parallel()
	axe := axe(t)
	s := newStage(t, "en")
	s.see(s.ask(payment))
	evaluate[bool](s.chromium, `(() => {
		document.querySelector('a.lang').textContent = '';
		document.documentElement.removeAttribute('lang');
		document.querySelector('.trust').style.color = '#bbb';
		document.querySelector('.agent').style.width = '500px';
		return true;
	})()`)
	found := strings.Join(s.violations(axe), "\n")
	for _, rule := range []string{"link-name: ", "html-has-lang: ", "color-contrast: "} {
		if !strings.Contains(found, rule) {
			t.Errorf("axe does not see %s%s", rule, found)
		}
	}
	if n := len(s.finds(faint)); n != 1 {
		t.Errorf("%d faint texts, want 1", n)
	}
	if len(s.finds(outside)) == 0 {
		t.Error("nothing is outside")
	}
	evaluate[bool](s.chromium, "document.body.setAttribute('style', 'color: red'), true")
	evaluate[bool](s.chromium, "try { document.body.innerHTML = '<p>' } catch {}; true")
	s.until("both refusals", "new Promise((done) => setTimeout(() => done(true), 50))")
	if said := s.heard(); len(said) < 2 {
		t.Errorf("refusals of the policy are not heard: %q", said)
	}
}
