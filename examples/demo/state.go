package main

import (
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A state is all that the page shows, as one JSON object.
type state struct {
	NATS     natsState      `json:"nats"`
	Services []serviceState `json:"services"`
	Users    []userState    `json:"users"`
	Devices  []deviceState  `json:"devices"`
	Chase    *result        `json:"chase"`
	Pulses   []pulse        `json:"pulses"`
	Said     *said          `json:"said"`
	Log      []line         `json:"log"`
}

type natsState struct {
	Running     bool   `json:"running"`
	Forked      bool   `json:"forked"`
	Losses      uint64 `json:"losses"`
	Republished uint64 `json:"republished"`
	Pending     int    `json:"pending"`
}

type serviceState struct {
	Name     string `json:"name"`
	Mirrored bool   `json:"mirrored"`
	Up       bool   `json:"up"`
	Cut      bool   `json:"cut"`
	State    string `json:"state"`   // fresh, stale, syncing; down
	Reason   string `json:"reason"`  // empty while fresh
	Age      int    `json:"age"`     // whole seconds since the proven instant; -1: nothing is proven
	Entries  int    `json:"entries"` // revocations that the replica holds
	Policy   string `json:"policy"`
}

type userState struct {
	Name   string `json:"name"`
	Banned bool   `json:"banned"`
}

type deviceState struct {
	ID      int      `json:"id"`
	User    string   `json:"user"`
	Label   string   `json:"label"`
	Thief   bool     `json:"thief"`
	Over    bool     `json:"over"`
	Stream  string   `json:"stream"`
	Answers []answer `json:"answers"`
}

// A place for what is to come: whether a replica began from a snapshot, and what metrics and
// signals tell, belong into serviceState; what an operator does with revokectl into natsState.

func (w *world) state() state {
	p := w.auth.member.Status().Publishing
	s := state{NATS: natsState{Running: w.broker.running(), Losses: p.Losses, Republished: p.Republished, Pending: p.Pending}, Chase: w.chase.result()}
	for _, v := range w.services {
		s.Services = append(s.Services, v.state())
	}
	for _, name := range userNames {
		s.Users = append(s.Users, userState{name, w.auth.users.isBanned(name)})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.NATS.Forked, s.Pulses = w.forked, w.pulses[:len(w.pulses):len(w.pulses)]
	for _, d := range w.devices {
		s.Devices = append(s.Devices, d.state())
	}
	s.Log, s.Said = w.story.told()
	return s
}

func (s *service) state() serviceState {
	v := serviceState{Name: s.name, Mirrored: s.mirrored, Cut: s.link.wasCut(), State: "down", Age: -1, Policy: policies[s.policy.Load()].name}
	a := s.running()
	if a == nil {
		return v
	}
	st := a.member.Status()
	v.Up, v.State = true, st.State.String()
	if st.State != revoke.StateFresh {
		v.Reason = st.Reason.String()
	}
	if st.Age >= 0 {
		v.Age = int(st.Age.Seconds())
	}
	for _, n := range a.list.Stats(revoke.Now()).Entries {
		v.Entries += n
	}
	return v
}

func (d *device) state() deviceState {
	d.mu.Lock()
	defer d.mu.Unlock()
	return deviceState{d.id, d.user, d.label, d.thief, d.over, d.stream, append([]answer{}, d.answers...)}
}
