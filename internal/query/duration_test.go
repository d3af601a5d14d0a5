package query

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	f := func(in string, want time.Duration) {
		t.Helper()
		got, err := ParseDuration(in)
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", in, got, err, want)
		}
	}
	f("0s", 0)
	f("200ms", 200*time.Millisecond)
	f("1.5s", 1500*time.Millisecond)
	f("1h30m", 90*time.Minute)
	f("7d", 168*time.Hour)
	f("2w", 336*time.Hour)
	f("3us", 3*time.Microsecond)
	f("3µs", 3*time.Microsecond)
	f("3μs", 3*time.Microsecond)
	f("9223372036854775807ns", 1<<63-1)

	bad := func(in string) {
		t.Helper()
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
	bad("")
	bad("5")
	bad("ms")
	bad("-5s")
	bad("5 s")
	bad("1.2.3s")
	bad(".s")
	bad("5y")
	bad("9223372036854775808ns")
	bad("300000000w")
	bad("9223372036854775807ns1ns")
	bad("9223372036.9s")
}
