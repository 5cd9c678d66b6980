package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestNormalURI(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{"https://example.com", "https://example.com/"},
		{"HTTPS://EXAMPLE.com:443/", "https://example.com/"},
		{"http://example.com:80/a", "http://example.com/a"},
		{"https://example.com:80/a", "https://example.com:80/a"},
		{"https://example.com:/a", "https://example.com/a"},
		{"https://example.com/a?b#c", "https://example.com/a"},
		{"https://example.com/%7Euser/%41%2d%2E", "https://example.com/~user/A-."},
		{"https://example.com/%c3%a4", "https://example.com/%C3%A4"},
		{"https://example.com/a%2fb", "https://example.com/a%2Fb"},
		{"https://example.com/a/./b/../c", "https://example.com/a/c"},
		{"https://example.com/a/..", "https://example.com/"},
		{"https://example.com/a/.", "https://example.com/a/"},
		{"https://example.com/../../a", "https://example.com/a"},
		{"https://example.com/%2e%2e/a", "https://example.com/a"},
		{"https://example.com//a//", "https://example.com//a//"},
		{"https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"},
		{"https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a"},
		{"https://127.0.0.1/a", "https://127.0.0.1/a"},
		// Refused.
		{"", ""}, {"/a", ""}, {"//example.com/a", ""}, {"example.com/a", ""}, {"ftp://example.com/", ""}, {"https:", ""}, {"https:///a", ""},
		{"https:example.com", ""}, {"https://me@example.com/", ""}, {"https://:443/", ""}, {"https://exa mple.com/", ""}, {"https://bücher.example/", ""},
		{"https://[fe80::1%25eth0]/", ""}, {"https://example.com/%zz", ""}, {"https://example.com:port/", ""}, {"https://example.com/\n", ""},
		{"https://example.com/" + strings.Repeat("a", 4<<10-len("https://example.com/")), "https://example.com/" + strings.Repeat("a", 4<<10-len("https://example.com/"))},
		{"https://example.com/" + strings.Repeat("a", 4<<10+1-len("https://example.com/")), ""},
		{"https://example.com/" + strings.Repeat(" ", maxURIBytes/2), ""}, // each a %20
	} {
		got, err := normalURI(x.in)
		if got != x.want || (err == nil) != (x.want != "") {
			t.Errorf("%q: %q, %v; want %q", x.in, got, err, x.want)
		}
		if again, _ := normalURI(got); err == nil && again != got {
			t.Errorf("%q: normalised twice %q", x.in, again)
		}
	}
}

// FuzzNormalURI: a normal form is its own normal form, and what goes in comes from
// where it goes.
func FuzzNormalURI(f *testing.F) {
	for _, s := range []string{"https://h/" + strings.Repeat(" ", maxURIBytes/2), "https://example.com", "HTTPS://EXAMPLE.com:443/%7e/../a?b#c", "http://[::1]:80//.", "https://h/%2e%2E/%", "https://h/a/..;/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := normalURI(s)
		if err != nil {
			if once != "" {
				t.Fatal("a URI beside an error")
			}
			return
		}
		if twice, err := normalURI(once); twice != once || err != nil {
			t.Fatalf("%q → %q → %q, %v", s, once, twice, err)
		}
		for _, segment := range strings.Split(once, "/")[3:] {
			if segment == "." || segment == ".." {
				t.Fatalf("%q → %q", s, once)
			}
		}
	})
}

// FuzzProof feeds the decoders of a proof's header and claims. What they accept,
// encoding/json reads alike.
func FuzzProof(f *testing.F) {
	const jwk = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	const header = `{"typ":"dpop+jwt","alg":"EdDSA","jwk":` + jwk + `}`
	const claims = `{"jti":"j","htm":"GET","htu":"https://example.com/","iat":1700000000,"ath":"a","nonce":"n","exp":1e9,"nbf":0}`
	seeds := 0
	add := func(header, claims string) { seeds++; f.Add([]byte(header), []byte(claims)) }
	add(header, claims)
	for _, h := range []string{
		``, `{}`, `[]`, `{"typ":"dpop+jwt"}`, `{"typ":"dpop+jwt","alg":"EdDSA","jwk":{}}`, strings.Replace(header, `"kty"`, `"d":"","kty"`, 1),
		strings.Replace(header, `OKP`, `oct`, 1), strings.Replace(header, `"x"`, `"x":"","x"`, 1), strings.Replace(header, `EdDSA`, `HS256`, 1),
		strings.Replace(header, `"kty"`, `"key_ops":["verify"],"use":"sig","alg":"EdDSA","kid":"k","kty"`, 1), header + header,
		strings.Replace(header, `"jwk"`, `"\u006awk"`, 1), strings.Replace(header, `"jwk"`, `"crit":["jwk"],"jwk"`, 1), `{"typ":"dpop+jwt","alg":"EdDSA","jwk":[` + jwk + `]}`,
	} {
		add(h, claims)
	}
	for _, c := range []string{``, `{}`, `{"jti":1}`, `{"jti":""}`, strings.Replace(claims, `"j"`, `"\ud800"`, 1), strings.Replace(claims, `17`, `"17"`, 1), claims + " x", strings.Replace(claims, "{", `{"htm":"GET",`, 1)} {
		add(header, c)
	}
	if seeds < 20 {
		f.Fatal("seeds are missing")
	}
	d := &dpopState{cfg: DPoPConfig{Algorithms: publicAlgorithms}}
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		if h, err := parseProofHeader(header, "dpop+jwt"); err == nil {
			plain := plainObject(t, header)
			_, sent := plain["jwk"]
			if sent != h.hasKey {
				t.Fatalf("%q read as %+v", header, h)
			}
			jwk := map[string]json.RawMessage{}
			if sent {
				jwk = plainObject(t, plain["jwk"])
			}
			if !strings.EqualFold(plainText(plain["typ"]), "dpop+jwt") || plainText(plain["alg"]) != string(h.alg) || plainText(jwk["kty"]) != h.jwk.Kty {
				t.Fatalf("%q read as %+v", header, h)
			}
			if public, err := h.key(d.cfg.Algorithms); err == nil {
				if public == nil {
					t.Fatal("neither key nor error")
				}
				for _, private := range []string{"d", "k", "p", "q", "dp", "dq", "qi", "oth"} {
					if _, ok := jwk[private]; ok {
						t.Fatalf("%q: private member %s let through", header, private)
					}
				}
			}
		}
		if c, err := parseProofClaims(claims); err == nil {
			plain := plainObject(t, claims)
			for name, got := range map[string]string{"jti": c.jti, "htm": c.htm, "htu": c.htu, "ath": c.ath, "nonce": c.nonce} {
				if plainText(plain[name]) != got {
					t.Fatalf("%s: read %q from %q", name, got, claims)
				}
			}
			if c.jti == "" || len(c.jti) > maxProofJTI || c.htm == "" || c.htu == "" || !c.issued.set {
				t.Fatalf("%q let through", claims)
			}
		} else if c != nil {
			t.Fatal("claims beside an error")
		}
	})
}

// The examples of RFC 9449, which were made in 2019: their clock is held.
func TestDPoPExamples(t *testing.T) {
	var file struct {
		Proofs []struct {
			Proof   string
			JKT     string
			Payload struct {
				HTM, HTU string
				IAT      int64
			}
			AccessToken string `json:"access_token"`
		}
		Bound struct {
			JWT     string
			Payload json.RawMessage
		} `json:"bound_access_token"`
		Count int
	}
	readVector(t, "dpop/dpop_examples.json", &file)
	if len(file.Proofs) == 0 || len(file.Proofs)+1 != file.Count {
		t.Fatalf("%d proofs read, the file counts %d", len(file.Proofs), file.Count)
	}
	var bound struct{ CNF json.RawMessage }
	if err := json.Unmarshal(file.Bound.Payload, &bound); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, p := range file.Proofs {
		d, err := NewDPoP(DPoPConfig{BaseURL: "https://server.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(p.Payload.IAT+30, 0)
		s := &Sender{Proof: p.Proof, Method: p.Payload.HTM, URL: p.Payload.HTU}
		use, err := d.s.check(s, p.AccessToken, p.JKT, now)
		if err != nil || use.jkt != p.JKT || !strings.Contains(string(bound.CNF), `"`+use.jkt+`"`) {
			t.Fatalf("proof %d: %+v, error %v", i, use, err)
		}
		if err := use.record(now); err != nil {
			t.Errorf("proof %d: error %v", i, err)
		}
		if err := use.record(now); err == nil {
			t.Errorf("proof %d was recorded twice", i)
		}
		if _, err := d.s.check(s, p.AccessToken, p.JKT, now.Add(time.Hour)); err == nil {
			t.Errorf("proof %d is good an hour later", i)
		}
		if _, err := d.s.check(s, p.AccessToken+"x", p.JKT, now); err == nil {
			t.Errorf("proof %d is good with another token", i)
		}
		seen[p.AccessToken] = true
	}
	if len(seen) < 2 {
		t.Error("no example with an access token")
	}
}

// Whatever the clocks do, a proof that was used is refused: forgotten ones are known
// by when they were made.
func TestReplayCacheAndClocks(t *testing.T) {
	const keep = 2 * time.Minute
	start := time.Unix(1700000000, 0)
	c := newReplayCache(keep, 1600)
	use := func(jti string, created time.Time, now time.Time) error {
		return (&proofUse{cache: c, jkt: "k", jti: jti, uri: "u", created: created.UnixMilli()}).record(now)
	}
	if err := use("a", start, start); err != nil {
		t.Fatal(err)
	}
	for _, step := range []time.Duration{0, time.Second, keep - 1, keep, 2*keep - 1, 2 * keep, 3 * keep, 10 * keep} {
		if err := use("a", start, start.Add(step)); err == nil {
			t.Errorf("used again after %s", step)
		}
		fresh := start.Add(step)
		if err := use(fmt.Sprint("b", step), fresh.Add(time.Millisecond), fresh); err != nil {
			t.Errorf("the good twin after %s: %v", step, err)
		}
	}
	if err := use("a", start, start); err == nil { // set back
		t.Error("used again after the clock was set back")
	}
	if err := use("c", start.Add(10*keep+time.Second), start.Add(10*keep+time.Second)); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}

// A clock that was an hour ahead and was set right: for an hour nobody can say of a
// proof whether it was used the first time round. That is "cannot know", which the
// operator hears of, and not the sender's fault. Nobody hears it without that.
func TestReplayAfterClockWasSetBack(t *testing.T) {
	start := time.Now()
	const keep, ahead = time.Minute, time.Hour
	c := newReplayCache(keep, 1600)
	// record is told two clocks: the wall's is in the proof, now is monotonic.
	record := func(jti string, wall, elapsed time.Duration) error {
		return (&proofUse{cache: c, jkt: "k", jti: jti, uri: "u", created: start.Add(wall).UnixMilli()}).record(start.Add(elapsed))
	}
	for n := range 30 {
		d := time.Duration(n) * 10 * time.Second
		if err := record(fmt.Sprint("ahead", n), ahead+d, d); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 6 * 60 {
		d := 5*time.Minute + time.Duration(n)*10*time.Second
		if err := record(fmt.Sprint("right", n), d, d); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalidToken) {
			t.Fatalf("after %s: %v", d, err)
		}
	}
	if err := record("good twin", ahead+10*time.Minute, ahead+10*time.Minute); err != nil {
		t.Errorf("when the clock has passed where it was: %v", err)
	}
}

// Anyone who floods with proofs of one key is refused himself; of the others next to none
// is, and none whom he could choose.
func TestOneSenderTakesHisShare(t *testing.T) {
	const n = 1 << 14
	now := time.Now()
	c := newReplayCache(time.Minute, n)
	record := func(jkt string, i int) error {
		u := proofUse{cache: c, jkt: jkt, jti: fmt.Sprint(i), uri: "https://example.com/", created: now.UnixMilli()}
		return u.record(now)
	}
	passed := 0
	for i := range n {
		if record("flood", i) == nil {
			passed++
		}
	}
	if passed != n/replayShards/2 {
		t.Errorf("the flood got %d of %d places", passed, n)
	}
	refused := 0
	for i := range 4000 {
		if record(fmt.Sprint("user ", i), i) != nil {
			refused++
		}
	}
	if refused > 12 {
		t.Errorf("%d of 4000 others are refused", refused)
	}
	if err := record("flood", -1); !errors.Is(err, ErrReplayCacheFull) {
		t.Errorf("the flood again: %v", err)
	}
	// Four senders with an eighth each take the second half, and no more.
	c = newReplayCache(time.Minute, n)
	for i := range 4 * n {
		_ = record(fmt.Sprint("flood ", i%64), i)
	}
	for i := range c.shards {
		if used := len(c.shards[i].young.used); used > n/replayShards {
			t.Errorf("shard %d holds %d of %d", i, used, n/replayShards)
		}
	}
}

// The memory of a full cache, by the heap.
func TestReplayCacheMemory(t *testing.T) {
	const n = 1 << 17
	now := time.Now()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c := newReplayCache(time.Minute, n)
	kept, refused := 0, 0
	for i := range 2 * n {
		u := proofUse{cache: c, jkt: fmt.Sprint(i % 1000), jti: fmt.Sprint(i), uri: "https://example.com/", created: now.UnixMilli()}
		if u.record(now) == nil {
			kept++
		} else {
			refused++
		}
	}
	per := float64(heap()-before) / float64(kept)
	if kept > n || kept < n/2 || refused == 0 || per > 64 {
		t.Errorf("%d kept of %d, %d refused, %.1f bytes each", kept, n, refused, per)
	}
	t.Logf("%d proofs of %.1f bytes", kept, per)
	total := 0
	for i := range c.shards {
		total += len(c.shards[i].young.used) + len(c.shards[i].old.used)
	}
	if total != kept || c.shards[0].floor != math.MinInt64 {
		t.Errorf("%d entries, %d kept", total, kept)
	}
	runtime.KeepAlive(c)
}

func TestNonceIsOneSpelling(t *testing.T) {
	key := [32]byte{7}
	s := &dpopState{cfg: DPoPConfig{NonceKeys: []*[32]byte{&key}, NonceLifetime: time.Minute, Window: time.Minute}}
	now := time.Now()
	nonce := s.nonce(now)
	if _, ok := s.openNonce(nonce, now); !ok || len(nonce) != 32 {
		t.Fatalf("nonce %q refused", nonce)
	}
	if b, err := base64.RawURLEncoding.DecodeString(nonce); err != nil || len(b) != nonceTime+nonceMAC {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if s.nonce(now.Truncate(15*time.Second)) != nonce {
		t.Error("another nonce within a quarter of its lifetime")
	}
	if _, ok := s.openNonce(nonce[:31]+"\n", now); ok {
		t.Error("a line feed passed")
	}
	future := s.nonce(now.Add(3 * time.Minute))
	if _, ok := s.openNonce(future, now); ok {
		t.Error("a nonce of a clock far ahead passed")
	}
}

// What is forgotten is remembered by its time, though it was a single proof.
func TestASingleForgottenProofIsNoNewOne(t *testing.T) {
	const keep = time.Minute
	start := time.Unix(1700000000, 0)
	for _, later := range []time.Duration{2 * keep, 3*keep + time.Second, time.Hour} {
		c := newReplayCache(keep, 1600)
		use := func(jti string, created, now time.Time) error {
			return (&proofUse{cache: c, jkt: "k", jti: jti, uri: "u", created: created.UnixMilli()}).record(now)
		}
		if err := use("a", start, start); err != nil {
			t.Fatal(err)
		}
		now := start.Add(later)
		if err := use("b", now, now); err != nil {
			t.Errorf("another, after %s: %v", later, err)
		}
		if err := use("a", start, now); !errors.Is(err, ErrUnavailable) {
			t.Errorf("used again after %s: %v", later, err)
		}
		if err := use("c", start.Add(time.Millisecond), now); err != nil {
			t.Errorf("the good twin, after %s: %v", later, err)
		}
	}
}

// The zero DPoPConfig means what its fields say.
func TestDPoPDefaults(t *testing.T) {
	d, err := NewDPoP(DPoPConfig{BaseURL: "https://api.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	c := d.s.cfg
	if c.Window != time.Minute || c.NonceLifetime != 5*time.Minute || c.MaxProofs != 1<<20 || len(c.NonceKeys) != 1 || len(c.Algorithms) == 0 || c.RequireNonce {
		t.Errorf("%+v", c)
	}
}
