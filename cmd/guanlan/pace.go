package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcApart is how long the process should run between two collections. A
	// collection marks all that lives beside everything else that the cores
	// have to do: twice as often, acknowledgements wait noticeably longer.
	gcApart = time.Second
	// gcLeast and gcMost bound what is allocated between two collections, in
	// per cent of what lives. gcMost is what the runtime does by itself.
	gcLeast, gcMost = 25, 100
	gcLook          = 200 * time.Millisecond
)

// paceGC lets the heap grow between two collections by what the process
// allocates in gcApart, instead of always by as much as lives, which a steady
// load with many active series does not need. It returns when ctx ends, and at
// once when the user has set GOGC.
func paceGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ticker := time.NewTicker(gcLook)
	defer ticker.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	var p gcPace
	for set := gcMost; ; {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			metrics.Read(sample)
			percent := p.percent(now, sample[0].Value.Uint64(), sample[1].Value.Uint64())
			// Setting it stops the world for some microseconds.
			if d := percent - set; d > set/8 || -d > set/8 {
				debug.SetGCPercent(percent)
				set = percent
			}
		}
	}
}

// gcPace turns looks at the heap into a GOGC.
type gcPace struct {
	at        time.Time
	allocated uint64
	rate      float64 // bytes a second, of the last seconds
}

// percent takes a look: what was allocated so far, and what was alive at the
// end of the last collection.
func (p *gcPace) percent(now time.Time, allocated, live uint64) int {
	passed, rate := now.Sub(p.at).Seconds(), 0.0
	if p.at.IsZero() { // what the start took
		passed = gcLook.Seconds()
	}
	rate = float64(allocated-p.allocated) / max(passed, 1e-3)
	// Up at once, down in seconds: rows come in gusts.
	p.rate = max(rate/2, p.rate+(rate-p.rate)*min(1, passed/4))
	p.at, p.allocated = now, allocated
	percent := 100 * p.rate * gcApart.Seconds() / float64(max(live, 1))
	return int(min(max(percent, gcLeast), gcMost))
}
