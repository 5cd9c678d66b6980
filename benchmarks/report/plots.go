package main

import (
	"math"
	"os"
	"path"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

const (
	plotWidth  = 18 * vg.Centimeter
	plotHeight = 9 * vg.Centimeter
)

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Legend.Top, p.Legend.Left = true, true
	return p
}

// plotDir is the plots' directory, beside the page.
const plotDir = "plots"

func (r *run) save(p *plot.Plot, file, what string) error {
	if err := os.MkdirAll(filepath.Join(r.dir, plotDir), 0o755); err != nil {
		return err
	}
	if err := p.Save(plotWidth, plotHeight, filepath.Join(r.dir, plotDir, file)); err != nil {
		return err
	}
	r.page.plot(path.Join(plotDir, file), what)
	return nil
}

// A bar is one of a bar chart.
type bar struct {
	name  string
	value float64
	ours  bool
}

// bars draws horizontal bars on a logarithmic axis, the first on top.
func (r *run) bars(file, title, unit string, all []bar) error {
	p := newPlot(title, unit, "")
	labels := make([]string, len(all))
	least := math.Inf(1)
	for i, b := range all {
		labels[len(all)-1-i] = b.name
		least = math.Min(least, b.value)
	}
	// A logarithmic axis has no zero for bars to start from.
	floor := math.Pow(10, math.Floor(math.Log10(least)))
	for i, b := range all {
		y := float64(len(all) - 1 - i)
		box, err := plotter.NewPolygon(plotter.XYs{{X: floor, Y: y - .3}, {X: b.value, Y: y - .3}, {X: b.value, Y: y + .3}, {X: floor, Y: y + .3}})
		if err != nil {
			return err
		}
		box.Color = plotutil.Color(2)
		if b.ours {
			box.Color = plotutil.Color(0)
		}
		box.LineStyle.Width = 0
		p.Add(box)
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.X.Min, p.X.Max = floor, math.Pow(10, math.Ceil(math.Log10(maxOf(all))))
	p.NominalY(labels...)
	return r.save(p, file, title)
}

func maxOf(all []bar) (most float64) {
	for _, b := range all {
		most = math.Max(most, b.value)
	}
	return most
}

// A series is one line of a plot.
type series struct {
	name string
	x, y []float64
}

// lines draws lines with points, the x axis logarithmic if asked for.
func (r *run) lines(file, title, x, y string, logX bool, all ...series) error {
	p := newPlot(title, x, y)
	for i, s := range all {
		xy := make(plotter.XYs, len(s.x))
		for j := range s.x {
			xy[j] = plotter.XY{X: s.x[j], Y: s.y[j]}
		}
		line, points, err := plotter.NewLinePoints(xy)
		if err != nil {
			return err
		}
		line.Color, points.Color, points.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		p.Add(line, points)
		p.Legend.Add(s.name, line, points)
	}
	p.Y.Min = 0
	if logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	p.Y.Max *= 1.3 // room for the legend
	return r.save(p, file, title)
}
