package main

import (
	"testing"
	"time"
)

func TestGCPace(t *testing.T) {
	const mb = 1 << 20
	var p gcPace
	now, allocated := time.Now(), uint64(0)
	look := func(rate, live uint64) int {
		now = now.Add(gcLook)
		allocated += rate / 5
		return p.percent(now, allocated, live)
	}
	settle := func(rate, live uint64) (percent int) {
		for range 100 {
			percent = look(rate, live)
		}
		return percent
	}
	for _, test := range []struct {
		name       string
		rate, live uint64
		want       int
	}{
		{"a steady load", 50 * mb, 100 * mb, 50},
		{"at rest", mb, 100 * mb, gcLeast},
		{"full load", 500 * mb, 100 * mb, gcMost},
		{"many series, few rows", 200 * mb, 500 * mb, 40},
		{"nothing lives yet", 50 * mb, 0, gcMost},
	} {
		if got := settle(test.rate, test.live); got < test.want-1 || got > test.want+1 {
			t.Errorf("%s: %d%%, want %d%%", test.name, got, test.want)
		}
	}
	settle(mb, 100*mb)
	if got := look(200*mb, 100*mb); got != gcMost {
		t.Errorf("a burst after rest: %d%% at the first look, want %d%%", got, gcMost)
	}
	if got := look(0, 100*mb); got < gcMost/2 {
		t.Errorf("right after a burst: %d%%, want it to last", got)
	}
}
