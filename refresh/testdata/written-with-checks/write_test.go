package refresh_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// TestWriteSamples writes sessions.json, on the clock of a bubble.
func TestWriteSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newLedger()
		var down error
		s := newSystem(t, func(c *refresh.Config) {
			c.Store, c.Lifetimes = store, refresh.Consumer
			c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) { return refresh.Answer{}, down }
		})
		tokens := map[string]string{}
		login := func(user string) *refresh.Grant {
			return s.login(t, func(l *refresh.Login) { l.Subject = user })
		}
		late := login("user-3")
		burnt := s.refresh(t, late)
		time.Sleep(time.Hour)
		tokens["late, predecessor"], tokens["late, burnt"], tokens["late"] = late.RefreshToken(), burnt.RefreshToken(), s.refresh(t, late).RefreshToken()
		tokens["never refreshed"] = login("user-1").RefreshToken()
		stolen := login("user-4")
		next := s.refresh(t, stolen)
		last := s.refresh(t, next)
		time.Sleep(time.Minute)
		s.refused(t, stolen, refresh.ErrReplayed)
		tokens["stolen"] = last.RefreshToken()
		held := login("user-5")
		tokens["held, predecessor"], tokens["held"] = held.RefreshToken(), s.refresh(t, held).RefreshToken()
		down = errors.New("down")
		for range 15 {
			time.Sleep(time.Second)
			s.refused(t, held, refresh.ErrAsk)
		}
		down = nil
		g := login("user-2")
		tokens["refreshed, predecessor"] = g.RefreshToken()
		g = s.refresh(t, g)
		tokens["refreshed"] = g.RefreshToken()
		type record struct {
			Value   json.RawMessage
			Expires int64 `json:"expires_ms"`
		}
		records := map[string]record{}
		for key, value := range store.values {
			records[key] = record{json.RawMessage(value), store.expires[key].UnixMilli()}
		}
		data, err := json.MarshalIndent(map[string]any{"written_ms": time.Now().UnixMilli(), "refresh_tokens": tokens, "Records": records}, "", "\t")
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Getenv("HYBRIDTOKEN_SAMPLES"), "sessions.json"), append(data, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
