package browser

import (
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// DeviceBound has the browser keep device-bound sessions (DBSC) with keys in software, and sign
// for them as often as it is asked. Without the quota's end a site has six signatures in nine
// minutes: see [Quota].
func DeviceBound() Option {
	return Features("DeviceBoundSessions:RefreshQuota/false", "EnableBoundSessionCredentialsSoftwareKeysForManualTesting")
}

// Quota is as [DeviceBound], with the browser's own limit on signatures.
func Quota() Option {
	return Features("DeviceBoundSessions", "EnableBoundSessionCredentialsSoftwareKeysForManualTesting")
}

// A BoundEvent is what the browser tells of a device-bound session.
type BoundEvent struct {
	Kind      string // creation, refresh, challenge, termination
	Session   string // its identifier; may be empty where something failed
	Succeeded bool
	Result    string // the browser's word for it, such as Success, Refreshed or ServerError
	Fetch     string // the browser's word for what its own request came to, if it sent one
}

// WatchBound begins to note the events of device-bound sessions, see [Tab.BoundEvents].
func (tab *Tab) WatchBound() {
	tab.t.Helper()
	events := chromedp.Events(tab.ctx, network.DeviceBoundSessionEventOccurred)
	go func() {
		for e, err := range events {
			if err != nil {
				return
			}
			tab.note(&e)
		}
	}()
	if _, err := chromedp.Call(tab.ctx, network.EnableDeviceBoundSessions, network.EnableDeviceBoundSessionsParams{Enable: true}); err != nil {
		tab.t.Fatalf("watching device-bound sessions: %v", err)
	}
}

// BoundEvents returns what has been noted since [Tab.WatchBound].
func (tab *Tab) BoundEvents() []BoundEvent {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]BoundEvent(nil), tab.bound...)
}

// Bound waits for an event of that kind and result.
func (tab *Tab) Bound(kind, result string) {
	tab.t.Helper()
	Eventually(tab.t, "an event of a device-bound session: "+kind+" "+result, func() bool {
		for _, e := range tab.BoundEvents() {
			if e.Kind == kind && e.Result == result {
				return true
			}
		}
		return false
	})
}

func (tab *Tab) note(e *network.EventDeviceBoundSessionEventOccurred) {
	n := BoundEvent{Session: e.SessionID, Succeeded: e.Succeeded}
	switch {
	case e.CreationEventDetails != nil:
		n.Kind, n.Result = "creation", string(e.CreationEventDetails.FetchResult)
	case e.RefreshEventDetails != nil:
		n.Kind, n.Result = "refresh", string(e.RefreshEventDetails.RefreshResult)
		n.Fetch = string(e.RefreshEventDetails.FetchResult)
	case e.ChallengeEventDetails != nil:
		n.Kind, n.Result = "challenge", string(e.ChallengeEventDetails.ChallengeResult)
	case e.TerminationEventDetails != nil:
		n.Kind, n.Result = "termination", string(e.TerminationEventDetails.DeletionReason)
	}
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.bound = append(tab.bound, n)
}
