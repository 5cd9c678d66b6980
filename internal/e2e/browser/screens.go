package browser

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// What a page is to be for people who cannot use a mouse, or see little, or hold a telephone.
// Each check returns what is wrong, one sentence each, and nothing where all is well. They look
// at one document: not into frames and shadow trees.

//go:embed screens.js
var screensScript string

// leastContrast is what WCAG 2.2 asks of text at level AA (1.4.3). It asks 3:1 of large text,
// which is not told apart here: what passes, passes everywhere.
const leastContrast = 4.5

// Overflow says what reaches beyond the right edge of a page, so that it has to be scrolled
// sideways (WCAG 2.2, 1.4.10).
func (tab *Tab) Overflow() []string {
	tab.t.Helper()
	return Eval[[]string](tab, "("+screensScript+").overflow()")
}

// LowContrast says which text has too little contrast with what is behind it. Text over a
// picture is reported too: nobody can compute it.
func (tab *Tab) LowContrast() []string {
	tab.t.Helper()
	return Eval[[]string](tab, fmt.Sprintf("(%s).contrast(%g)", screensScript, leastContrast))
}

// Unlabelled says which controls have no name that could be read out (WCAG 2.2, 4.1.2).
func (tab *Tab) Unlabelled() []string {
	tab.t.Helper()
	return Eval[[]string](tab, "("+screensScript+").unlabelled()")
}

// Keyboard presses the Tab key from the top of the page on. It says which controls that does
// not reach, in the order of the page, and where nobody sees that they are reached (WCAG 2.2,
// 2.1.1, 2.1.2, 2.4.3 and 2.4.7).
func (tab *Tab) Keyboard() []string {
	tab.t.Helper()
	must(tab, "focusing the page", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	}))
	controls := Eval[[]string](tab, "("+screensScript+").controls()")
	var reached []int
	var wrong []string
	for range len(controls) + 2 {
		tab.Key(kb.Tab)
		at := Eval[int](tab, "("+screensScript+").focused()")
		if at < 0 || slices.Contains(reached, at) {
			break
		}
		if len(reached) > 0 && at < slices.Max(reached) {
			wrong = append(wrong, controls[at]+" is reached after what follows it on the page")
		}
		reached = append(reached, at)
		if !tab.seesFocus() {
			wrong = append(wrong, controls[at]+" looks the same when it has the focus")
		}
	}
	for i, name := range controls {
		if !slices.Contains(reached, i) {
			wrong = append(wrong, name+" is not reached by the Tab key")
		}
	}
	return wrong
}

// seesFocus compares pictures of the focused element with and without the focus. Somebody sees
// the difference if it is as large as a line around half of the element, of 3:1 (what WCAG 2.2
// asks of what is not text, 1.4.11): a caret in a field is not.
func (tab *Tab) seesFocus() bool {
	tab.t.Helper()
	box := Eval[struct{ X, Y, Width, Height float64 }](tab, "("+screensScript+").box()")
	with := tab.picture(box.X, box.Y, box.Width, box.Height)
	Eval[bool](tab, "("+screensScript+").hide()")
	without := tab.picture(box.X, box.Y, box.Width, box.Height)
	Eval[bool](tab, "("+screensScript+").restore()")
	bounds := with.Bounds().Intersect(without.Bounds())
	changed := 0
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			if contrast(with.At(x, y), without.At(x, y)) >= 3 {
				changed++
			}
		}
	}
	return float64(changed) >= box.Width+box.Height
}

// picture returns a part of the page.
func (tab *Tab) picture(x, y, width, height float64) image.Image {
	tab.t.Helper()
	data := must(tab, "a picture", func(ctx context.Context, _ *chromedp.Target) ([]byte, error) {
		r, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Clip:                  &page.Viewport{X: x, Y: y, Width: width, Height: height, Scale: 1},
			CaptureBeyondViewport: new(true),
		})
		return r.Data, err
	})
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		tab.t.Fatalf("a picture: %v", err)
	}
	return img
}

// contrast is the ratio that WCAG 2.2 defines of two colours' relative luminance.
func contrast(a, b color.Color) float64 {
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

func luminance(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	linear := func(v uint32) float64 {
		f := float64(v) / 0xffff
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
}
