package main

import (
	"sync"
	"time"
)

// A chase measures how long it takes from a click until every service refuses every token that the
// click has doomed. The devices concerned call without a pause meanwhile.
type chase struct {
	title  string
	began  time.Time
	doomed map[*device]string // the token that each had
	due    map[place]bool     // what has not been refused yet
	total  int
	last   []time.Duration // for each service, when it refused the last of them
	let    int             // calls that were accepted after the click
	over   bool
}

// A place is a cell of the grid.
type place struct {
	device  *device
	service int
}

// A chaser holds the present chase.
type chaser struct {
	mu  sync.Mutex
	now *chase
}

// chaseHurry is how long devices call without a pause, and put off asking for another token.
const chaseHurry = 3 * time.Second

// begin begins a chase for the tokens that these devices have now.
func (c *chaser) begin(title string, services int, doomed []*device) {
	n := &chase{title: title, began: time.Now(), doomed: map[*device]string{}, due: map[place]bool{}, last: make([]time.Duration, services)}
	for _, d := range doomed {
		if raw := d.accessToken(); raw != "" {
			n.doomed[d] = raw
			for i := range services {
				n.due[place{d, i}] = true
			}
		}
	}
	n.total, n.over = len(n.due), len(n.due) == 0
	c.mu.Lock()
	c.now = n
	c.mu.Unlock()
	for d := range n.doomed {
		d.callNow()
	}
}

// saw notes an answer. It reports whether the device is to call again at once.
func (c *chaser) saw(d *device, service int, raw string, began time.Time, got answer) (again, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.now
	if n == nil || n.doomed[d] != raw || !n.due[place{d, service}] || began.Before(n.began) {
		return n != nil && n.doomed[d] == raw && n.due[place{d, service}], false
	}
	switch {
	case got == refused:
		n.last[service] = max(n.last[service], time.Since(n.began))
		delete(n.due, place{d, service})
		n.over = len(n.due) == 0
		return false, n.over
	case got == accepted:
		n.let++
	}
	return got == accepted && time.Since(n.began) < chaseHurry, false
}

// forget takes a device out that is removed, or has got another token.
func (c *chaser) forget(d *device) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		return
	}
	for p := range c.now.due {
		if p.device == d {
			delete(c.now.due, p)
			c.now.total--
		}
	}
	c.now.over = len(c.now.due) == 0
}

// waits reports whether a refusal by that service is yet to come.
func (c *chaser) waits(d *device, raw string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.now
	if n == nil || n.doomed[d] != raw || time.Since(n.began) > chaseHurry {
		return false
	}
	for p := range n.due {
		if p.device == d {
			return true
		}
	}
	return false
}

// A result is what the page shows of a chase.
type result struct {
	Title string     `json:"title"`
	Over  bool       `json:"over"`
	Done  int        `json:"done"`
	Total int        `json:"total"`
	Last  float64    `json:"last"` // ms from the click to the last refusal so far
	Each  []*float64 `json:"each"` // the same for each service; null: none yet
	Let   int        `json:"let"`
}

func (c *chaser) result() *result {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.now
	if n == nil || n.total == 0 {
		return nil
	}
	r := &result{Title: n.title, Over: n.over, Done: n.total - len(n.due), Total: n.total, Let: n.let}
	for _, d := range n.last {
		if ms := millis(d); d > 0 {
			r.Each, r.Last = append(r.Each, &ms), max(r.Last, ms)
		} else {
			r.Each = append(r.Each, nil)
		}
	}
	return r
}

// millis is a duration in milliseconds, to a hundredth.
func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
