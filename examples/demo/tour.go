package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A visitor goes through the demo by what the page's server offers, as a browser does.
type visitor struct {
	ctx  context.Context
	out  io.Writer
	page string

	patience time.Duration // how long an expectation may take to come true
	err      error         // what was not as expected, first; nothing is done after it
}

var allFresh = []string{"fresh", "fresh", "fresh"}

// tour does everything that the page can, and looks at what becomes of it. It returns an error if
// something is not as it says.
func tour(ctx context.Context, out io.Writer, page string) error {
	v := &visitor{ctx: ctx, out: out, page: page, patience: 30 * time.Second}
	began := time.Now()
	v.sees("All services are fresh, and accept what the devices have.", v.services(allFresh...), v.answers("alice", "laptop", accepted), v.answers("carol", "phone", accepted), v.stream("alice", "laptop", "open"))

	v.presses("Alice logs out on the laptop.", "logout", "alice", "laptop")
	v.sees("Every service refuses its token, its event stream ended, and her phone goes on.",
		v.answers("alice", "laptop", refused), v.stream("alice", "laptop", "revoked"), v.answers("alice", "phone", accepted), v.chased())

	v.presses("A thief copies the cookie of her phone.", "steal-cookie", "alice", "phone")
	v.sees("The copy is accepted.", v.answers("alice", "thief", accepted))
	v.presses("On the tablet she logs out everywhere else.", "others", "alice", "tablet")
	v.sees("The phone and the copy are refused; the tablet goes on.", v.answers("alice", "phone", refused), v.answers("alice", "thief", refused), v.answers("alice", "tablet", accepted), v.chased())

	v.presses("Bob changes his password on the laptop; the old one is tried.", "password", "bob", "laptop")
	v.sees("His phone is refused; the laptop goes on.", v.answers("bob", "phone", refused), v.answers("bob", "laptop", accepted))

	v.presses("Carol is banned.", "ban", "carol", "laptop")
	v.sees("All her devices are refused.", v.answers("carol", "laptop", refused), v.answers("carol", "phone", refused))
	v.isRefused("She cannot log in.", "login", "carol", "laptop")
	v.presses("The ban is lifted.", "lift", "carol", "laptop")
	v.presses("She logs in again.", "login", "carol", "laptop")
	v.sees("That is accepted, and what was revoked stays so.", v.answers("carol", "laptop", accepted), v.answers("carol", "phone", refused))

	v.presses("The signing key leaks and is revoked.", "key", "", "")
	v.sees("Devices whose sessions live have tokens of the next key.", v.chased(), v.answers("alice", "tablet", accepted), v.answers("bob", "laptop", accepted), v.answers("alice", "thief", refused))

	v.presses("A used refresh token of Bob’s laptop is replayed.", "steal-refresh", "bob", "laptop")
	v.sees("The session is over for both who held it.", v.answers("bob", "laptop", refused), v.over("bob", "laptop"))

	v.tells("billing is cut off from NATS.", "cut", target{Service: "billing"})
	v.sees("Once its proof is too old it answers that it cannot know.", v.answer("alice", "tablet", 1, unknown), v.services("fresh", "stale", "fresh"))
	v.tells("It is told to accept all the same.", "policy", target{Service: "billing", Policy: "InsecureAllow"})
	v.presses("Alice logs out on the tablet.", "logout", "alice", "tablet")
	v.sees("billing, alone, goes on accepting it.", v.answer("alice", "tablet", 0, refused), v.answer("alice", "tablet", 1, accepted), v.answer("alice", "tablet", 2, refused))
	v.tells("It is told to deny, the default.", "policy", target{Service: "billing", Policy: "Deny"})
	v.sees("It answers that it cannot know.", v.answer("alice", "tablet", 1, unknown))
	v.tells("It is connected again.", "mend", target{Service: "billing"})
	v.sees("It has caught up, and refuses.", v.answers("alice", "tablet", refused), v.services(allFresh...), v.chased())

	v.tells("NATS is stopped.", "stop", target{})
	v.presses("Carol logs out on the laptop.", "logout", "carol", "laptop")
	v.sees("No service knows of it, and none accepts it for longer than its proof lasts.", v.answers("carol", "laptop", unknown))
	v.tells("NATS is started.", "start", target{})
	v.sees("The logout has reached everybody.", v.answers("carol", "laptop", refused), v.services(allFresh...))

	v.tells("The stream is rolled back to before that logout.", "rollback", target{})
	v.sees("The auth service has noticed and published again; nobody was let in.", v.republished(), v.answers("carol", "laptop", refused), v.services(allFresh...))
	v.tells("orders is restarted, with an empty memory.", "restart", target{Service: "orders"})
	v.sees("It has read all of it again.", v.answers("carol", "laptop", refused), v.answers("alice", "laptop", refused), v.services(allFresh...))

	v.tells("The stream is restored from a backup, and its mirror forgotten.", "fork", target{})
	v.sees("search, behind the mirror, says that it is a fork.", v.reason("search", "fork"))
	v.tells("The mirror is made anew.", "remake", target{})
	v.sees("search is fresh, and refuses what the others do.", v.services(allFresh...), v.answers("carol", "laptop", refused))
	if v.err == nil {
		fmt.Fprintf(out, "Everything was as expected, in %.1f s.\n", time.Since(began).Seconds())
	}
	return v.err
}

// An expectation says what is wrong with a state: nothing, if it holds.
type expectation func(s *state) string

// sees waits until all expectations hold at once.
func (v *visitor) sees(says string, all ...expectation) {
	if v.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(v.ctx, v.patience)
	defer cancel()
	for wrong := "nothing was seen"; ; {
		s, err := v.look(ctx)
		if err == nil {
			wrong = ""
		}
		for _, e := range all {
			if err == nil && wrong == "" {
				wrong = e(s)
			}
		}
		if wrong == "" {
			fmt.Fprintln(v.out, "  "+says)
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			if v.err = v.ctx.Err(); v.err == nil {
				v.err = fmt.Errorf("%s Not so: %s (error: %v)", says, wrong, err)
			}
			return
		}
	}
}

// presses presses a button for a device.
func (v *visitor) presses(says, button, user, label string) {
	v.tells(says, button, v.target(user, label))
}

// tells presses a button.
func (v *visitor) tells(says, button string, t target) {
	if v.err != nil {
		return
	}
	if status, answer := v.act(button, t); v.err == nil && status != http.StatusOK {
		v.err = fmt.Errorf("%s Not so: %s", says, answer)
	}
	fmt.Fprintln(v.out, says)
}

// isRefused presses a button that does not do it.
func (v *visitor) isRefused(says, button, user, label string) {
	t := v.target(user, label)
	if v.err != nil {
		return
	}
	if status, answer := v.act(button, t); v.err == nil && status != http.StatusConflict {
		v.err = fmt.Errorf("%s Not so: %s", says, answer)
	}
	fmt.Fprintln(v.out, "  "+says)
}

// act sends what the page's script sends.
func (v *visitor) act(button string, t target) (status int, answer string) {
	body, err := json.Marshal(struct {
		Do string `json:"do"`
		target
	}{button, t})
	if err != nil {
		v.err = err
		return 0, ""
	}
	r, err := http.NewRequestWithContext(v.ctx, http.MethodPost, v.page+"/act", bytes.NewReader(body))
	if err != nil {
		v.err = err
		return 0, ""
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		v.err = err
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	v.err = err
	return resp.StatusCode, string(text)
}

// look reads the first state that the page would show.
func (v *visitor) look(ctx context.Context) (*state, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.page+"/state", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			s := &state{}
			return s, json.Unmarshal([]byte(data), s)
		}
	}
	return nil, errors.Join(lines.Err(), errors.New("the page shows nothing"))
}

func (v *visitor) target(user, label string) target {
	if v.err != nil || user == "" {
		return target{}
	}
	s, err := v.look(v.ctx)
	if err != nil {
		v.err = err
		return target{}
	}
	return target{Device: s.device(user, label).ID, User: user}
}

// device finds a row. The thief is one, too.
func (s *state) device(user, label string) deviceState {
	i := slices.IndexFunc(s.Devices, func(d deviceState) bool {
		return d.User == user && (d.Thief && label == "thief" || !d.Thief && d.Label == label)
	})
	if i < 0 {
		return deviceState{Answers: make([]answer, len(serviceNames))}
	}
	return s.Devices[i]
}

func (v *visitor) answers(user, label string, want answer) expectation {
	return func(s *state) string {
		for i := range serviceNames {
			if wrong := v.answer(user, label, i, want)(s); wrong != "" {
				return wrong
			}
		}
		return ""
	}
}

func (v *visitor) answer(user, label string, service int, want answer) expectation {
	return func(s *state) string {
		if got := s.device(user, label).Answers[service]; got != want {
			return fmt.Sprintf("%s answers %s’s %s %q, not %q", serviceNames[service], user, label, got, want)
		}
		return ""
	}
}

func (v *visitor) stream(user, label, want string) expectation {
	return func(s *state) string {
		if got := s.device(user, label).Stream; got != want {
			return fmt.Sprintf("the stream of %s’s %s is %s, not %s", user, label, got, want)
		}
		return ""
	}
}

func (v *visitor) over(user, label string) expectation {
	return func(s *state) string {
		if !s.device(user, label).Over {
			return fmt.Sprintf("the session of %s’s %s is not over", user, label)
		}
		return ""
	}
}

func (v *visitor) services(want ...string) expectation {
	return func(s *state) string {
		for i, w := range want {
			if got := s.Services[i]; got.State != w {
				return fmt.Sprintf("%s is %s (%s), not %s", got.Name, got.State, got.Reason, w)
			}
		}
		return ""
	}
}

func (v *visitor) reason(service, want string) expectation {
	return func(s *state) string {
		for _, got := range s.Services {
			if got.Name == service && (got.State == "fresh" || got.Reason != want) {
				return fmt.Sprintf("%s is %s (%s), not %s", service, got.State, got.Reason, want)
			}
		}
		return ""
	}
}

// chased expects that all that was revoked by the last button is refused.
func (v *visitor) chased() expectation {
	return func(s *state) string {
		if c := s.Chase; c == nil || !c.Over {
			return fmt.Sprintf("not everything was refused: %+v", c)
		}
		return ""
	}
}

func (v *visitor) republished() expectation {
	return func(s *state) string {
		if s.NATS.Losses == 0 || s.NATS.Republished == 0 || s.NATS.Pending > 0 {
			return fmt.Sprintf("lost %d times, %d events published again, %d to come", s.NATS.Losses, s.NATS.Republished, s.NATS.Pending)
		}
		return ""
	}
}
