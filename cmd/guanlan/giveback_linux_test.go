package main

import (
	"testing"
	"time"
)

func TestRestIsToldFromWork(t *testing.T) {
	const mib = 1 << 20
	var r rest
	at, cpu := time.Unix(0, 0), time.Duration(0)
	// look goes on by one look in which the process used so much.
	look := func(used time.Duration, resident uint64) bool {
		at, cpu = at.Add(restLook), cpu+used
		due := r.due(at, cpu, resident)
		if due {
			r.gaveBack(at, 50*mib)
		}
		return due
	}
	f := func(what string, looks int, used time.Duration, resident uint64, want int) {
		t.Helper()
		got := 0
		for range looks {
			if look(used, resident) {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: gave back %d times, want %d", what, got, want)
		}
	}
	f("busy from the start", 100, restLook/2, 500*mib, 0)
	f("at rest, the window has work in it", 3, 0, 500*mib, 0)
	f("at rest", 1, 0, 500*mib, 1)
	f("at rest soon after", int(restAgain/restLook)-1, 0, 500*mib, 0)
	f("at rest, grown again", 1, 0, 500*mib, 1)
	f("at rest for long, hardly grown", 1000, restLook/100, 60*mib, 0)
	f("at rest for long, grown", int(restAgain/restLook)*3, restLook/100, 70*mib, 3)
	f("busy", 100, restLook/4, 900*mib, 0)
}

// TestUpGivesBackAtRest uses a process and leaves it alone.
func TestUpGivesBackAtRest(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute of rest")
	}
	p := start(t, t.TempDir())
	var any struct{}
	for _, path := range []string{"/guanlan/v1/services", "/guanlan/v1/traces", "/guanlan/v1/logs", "/guanlan/v1/status"} {
		if err := p.get("", path, nil, &any); err != nil {
			t.Fatal(err)
		}
	}
	used, _ := p.memory(t)
	var now int64
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if now, _ = p.memory(t); now < used-16<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d MiB resident when it was used, %d MiB now: nothing was given back", used>>20, now>>20)
		}
	}
	t.Logf("%d MiB when used, %d MiB at rest", used>>20, now>>20)
	p.healthy(t)
	if err := p.get("", "/guanlan/v1/services", nil, &any); err != nil {
		t.Error(err)
	}
}
