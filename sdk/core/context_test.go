package core

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestParseTraceparent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, test := range []struct {
		name, parent string
		flags        byte
		ok           bool
	}{
		{"sampled", "00-" + trace + "-" + span + "-01", FlagSampled, true},
		{"sampled and random", "00-" + trace + "-" + span + "-03", FlagSampled | FlagRandom, true},
		{"unknown flags are left out", "00-" + trace + "-" + span + "-fc", 0, true},
		{"a later version with more", "01-" + trace + "-" + span + "-01-more", FlagSampled, true},
		{"a later version without", "cc-" + trace + "-" + span + "-00", 0, true},
		{"a later version with rubbish", "01-" + trace + "-" + span + "-01more", 0, false},
		{"version 00 with more", "00-" + trace + "-" + span + "-01-more", 0, false},
		{"version ff", "ff-" + trace + "-" + span + "-01", 0, false},
		{"capitals", "00-" + strings.ToUpper(trace) + "-" + span + "-01", 0, false},
		{"no digit", "00-" + trace[:31] + "g-" + span + "-01", 0, false},
		{"zero trace id", "00-" + strings.Repeat("0", 32) + "-" + span + "-01", 0, false},
		{"zero span id", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", 0, false},
		{"another separator", "00_" + trace + "-" + span + "-01", 0, false},
		{"short", "00-" + trace + "-" + span + "-0", 0, false},
		{"nothing", "", 0, false},
	} {
		sc, ok := ParseTraceparent(test.parent, "a=b")
		if ok != test.ok {
			t.Errorf("%s: ok %v, want %v", test.name, ok, test.ok)
			continue
		}
		if !ok {
			if sc != (SpanContext{}) {
				t.Errorf("%s: %+v, want nothing", test.name, sc)
			}
			continue
		}
		if sc.TraceID.String() != trace || sc.SpanID.String() != span || sc.Flags != test.flags || !sc.Remote || sc.State != "a=b" {
			t.Errorf("%s: %+v", test.name, sc)
		}
		want := "00-" + trace + "-" + span + "-0" + string('0'+rune(test.flags))
		if got := string(AppendTraceparent(nil, &sc)); got != want {
			t.Errorf("%s: written as %q, want %q", test.name, got, want)
		}
	}
	if sc, ok := ParseTraceparent("00-"+trace+"-"+span+"-01", "a=b\r\nSet-Cookie: x"); !ok || sc.State != "" {
		t.Errorf("a line break in tracestate: %+v, %v; want it left out", sc, ok)
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "ot=th:8;rv:01234567890abc,x=y")
	f.Add("ff--", "ot=;:,,=")
	f.Fuzz(func(t *testing.T, parent, state string) {
		sc, ok := ParseTraceparent(parent, state)
		if !ok {
			return
		}
		written := string(AppendTraceparent(nil, &sc))
		again, ok := ParseTraceparent(written, sc.State)
		if !ok || again != sc {
			t.Fatalf("%q becomes %+v, written as %q it becomes %+v, %v", parent, sc, written, again, ok)
		}
		r := Randomness(&sc)
		if r >= 1<<thresholdBits {
			t.Fatalf("randomness %x of %q has more than 56 bits", r, state)
		}
		if th, ok := StateThreshold(sc.State); ok {
			if th > KeepNone {
				t.Fatalf("threshold %x of %q has more than 56 bits", th, state)
			}
			changed := WithThreshold(sc.State, th)
			if got, ok := StateThreshold(changed); !ok || got != th {
				t.Fatalf("threshold %v of %q, set again in %q, is %v, %v", th, state, changed, got, ok)
			}
		}
	})
}

func TestThreshold(t *testing.T) {
	for _, test := range []struct {
		p    float64
		text string
	}{
		{1, "0"}, {2, "0"}, {0.5, "8"}, {0.25, "c"}, {0.01, "fd70a"}, {0.1, "e666"}, {0, ""}, {-1, ""}, {math.NaN(), ""}, {MinProbability, "ffffffffffffff"},
	} {
		th := ThresholdOf(test.p)
		if got := th.String(); got != test.text {
			t.Errorf("threshold of %v is %q, want %q", test.p, got, test.text)
		}
		if test.text == "" {
			if th.Weight() != 0 || th.Keeps(1<<thresholdBits-1) {
				t.Errorf("threshold of %v keeps something", test.p)
			}
			continue
		}
		if back, ok := parseThreshold(test.text); !ok || back != th {
			t.Errorf("%q is read as %x, %v, want %x", test.text, back, ok, th)
		}
	}
	for p := 1.0; p > 1e-12; p *= 0.87 {
		th := ThresholdOf(p)
		if got := th.Probability(); math.Abs(got-p) > p/1000 {
			t.Errorf("probability %v becomes %v", p, got)
		}
		if w := th.Weight() * th.Probability(); math.Abs(w-1) > 1e-12 {
			t.Errorf("weight times probability of %v is %v", p, w)
		}
	}
	for _, s := range []string{"", "g", "123456789012345", "-1", "F"} {
		if th, ok := parseThreshold(s); ok {
			t.Errorf("%q is read as %x", s, th)
		}
	}
}

// Every service takes the same randomness from a trace, so that all decide alike.
func TestRandomness(t *testing.T) {
	id, _ := ParseTraceID("4bf92f3577b34da6a3ce929d0e0e4736")
	for _, test := range []struct {
		state string
		want  uint64
	}{
		{"", 0xce929d0e0e4736},
		{"ot=rv:abcdef01234567", 0xabcdef01234567},
		{"x=y, ot=th:8;rv:abcdef01234567", 0xabcdef01234567},
		{"ot=rv:abc", 0xce929d0e0e4736}, // too short
		{"xot=rv:abcdef01234567", 0xce929d0e0e4736},
	} {
		if got := Randomness(&SpanContext{TraceID: id, State: test.state}); got != test.want {
			t.Errorf("randomness with %q is %x, want %x", test.state, got, test.want)
		}
	}
}

func TestWithThreshold(t *testing.T) {
	f := func(state string, th Threshold, want string) {
		t.Helper()
		if got := WithThreshold(state, th); got != want {
			t.Errorf("%q with %v is %q, want %q", state, th, got, want)
		}
	}
	f("", ThresholdOf(0.5), "ot=th:8")
	f("", KeepNone, "")
	f("a=b,ot=th:c;rv:abcdef01234567,c=d", KeepAll, "ot=th:0;rv:abcdef01234567,a=b,c=d")
	f("a=b,ot=th:c", KeepNone, "a=b")
	f(strings.Repeat("a=b,", 40), KeepAll, "ot=th:0"+strings.Repeat(",a=b", 31))
}

func TestIDsAsText(t *testing.T) {
	f := func(id TraceID) {
		t.Helper()
		short := SpanID(id[4:12])
		if got, want := id.String(), fmt.Sprintf("%x", id[:]); got != want || string(id.AppendHex([]byte("a "))) != "a "+want {
			t.Errorf("%q is %q", want, got)
		}
		if got, want := short.String(), fmt.Sprintf("%x", short[:]); got != want || string(short.AppendHex([]byte("a "))) != "a "+want {
			t.Errorf("%q is %q", want, got)
		}
	}
	for b := range 256 { // at each place beside others
		for at := range len(TraceID{}) {
			id := TraceID{0, 9, 10, 15, 16, 0x9f, 0xa0, 0xfa, 0xff, 1, 2, 3, 4, 5, 6, 7}
			id[at] = byte(b)
			f(id)
		}
	}
}
