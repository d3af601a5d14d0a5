package event

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

func TestBands(t *testing.T) {
	for d, want := range map[int64]int{-5: 0, 0: 0, 1: 0, 2: 4, 3: 6, 4: 8, 1023: 39, 1024: 40, 1025: 40, 1 << 62: 248, math.MaxInt64: 251} {
		if got := bandOf(d); got != want {
			t.Errorf("bandOf(%d) = %d, want %d", d, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.Int64Range(1, math.MaxInt64).Draw(t, "d")
		b := bandOf(d)
		if lo, hi := math.Exp2(float64(b)/4), math.Exp2(float64(b+1)/4); float64(d) < lo*(1-1e-12) || float64(d) >= hi*(1+1e-12) {
			t.Fatalf("%d is not in its band %d, [%v, %v)", d, b, lo, hi)
		}
		if d > 50 {
			if off := math.Abs(float64(bandMiddle(b))/float64(d) - 1); off > 0.095 {
				t.Fatalf("the middle of %d's band is off by %v", d, off)
			}
		}
	})
}

// sum is what a rollup knows of one cell.
type sum struct {
	Count  uint64
	Weight float64
}

type sumKey struct {
	Tenant  store.Tenant
	Minute  int64
	Service string
	Band    int
	Failed  bool
}

func readRollup(t rapid.TB, r *rollup, tenant store.Tenant, from, to int64, only *string) map[sumKey]sum {
	t.Helper()
	out := make(map[sumKey]sum)
	err := r.visit(tenant, from, to, only, func(minute int64, service string, cells []cell) {
		for _, c := range cells {
			k := sumKey{tenant, minute, service, int(c.band), c.failed}
			out[k] = sum{out[k].Count + c.count, out[k].Weight + c.weight}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Random spans, checkpoints, crashes and replays: a rollup that was restored
// from a checkpoint and given again what came after it counts every span once.
func TestRollupCountsOnce(t *testing.T) {
	day := time.Now().Truncate(24 * time.Hour)
	tenants := []store.Tenant{{}, {Account: 1}, {Account: 1, Project: 7}}
	services := []string{"", "order", "cart"}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "rollup")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r, err := openRollup(dir)
		if err != nil {
			t.Fatal(err)
		}
		var blob []byte
		want := make(map[sumKey]sum)
		type span struct {
			tenant  store.Tenant
			service string
			end, d  int64
			failed  bool
			weight  float64
		}
		var journal []span // since the checkpoint
		apply := func(s span) {
			var y tally
			y.span(r, s.tenant, s.service, s.end, s.d, s.failed, s.weight)
			y.close()
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			default:
				s := span{rapid.SampledFrom(tenants).Draw(t, "tenant"), rapid.SampledFrom(services).Draw(t, "service"),
					day.Add(time.Duration(rapid.Int64Range(-90, 90).Draw(t, "minute"))*time.Minute + 7).UnixNano(), rapid.Int64Range(0, 5000).Draw(t, "duration"),
					rapid.Bool().Draw(t, "failed"), rapid.SampledFrom([]float64{1, 1, 2, 3.5}).Draw(t, "weight")}
				apply(s)
				journal = append(journal, s)
				k := sumKey{s.tenant, floorDiv(s.end, int64(time.Minute)), s.service, bandOf(s.d), s.failed}
				want[k] = sum{want[k].Count + 1, want[k].Weight + s.weight}
			case 7: // close some minutes early
				r.closeMinutes(time.Now(), rapid.IntRange(0, 20).Draw(t, "keep"))
			case 8:
				if blob, err = r.freeze(); err != nil {
					t.Fatal(err)
				}
				journal = nil
			case 9: // crash
				if blob == nil {
					break
				}
				if r, err = openRollup(dir); err != nil {
					t.Fatal(err)
				}
				if err := r.restore(blob); err != nil {
					t.Fatal(err)
				}
				for _, s := range journal {
					apply(s)
				}
			}
		}
		got := make(map[sumKey]sum)
		base := day.Unix() / 60
		for _, tenant := range tenants {
			maps.Copy(got, readRollup(t, r, tenant, base-2000, base+2000, nil))
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("counts: want (-) and got (+) differ:\n%s", diff)
		}
		// A part of it, by time and service.
		only := rapid.SampledFrom(services).Draw(t, "only")
		from := base + rapid.Int64Range(-90, 90).Draw(t, "from")
		part := readRollup(t, r, tenants[1], from, from+30, &only)
		maps.DeleteFunc(want, func(k sumKey, _ sum) bool {
			return k.Tenant != tenants[1] || k.Service != only || k.Minute < from || k.Minute >= from+30
		})
		if diff := gocmp.Diff(want, part); diff != "" {
			t.Fatalf("counts of %q in half an hour: want (-) and got (+) differ:\n%s", only, diff)
		}
	})
}

func addSpans(r *rollup, n int, at time.Time) {
	var y tally
	for i := range n {
		y.span(r, store.Tenant{}, "order", at.Add(time.Duration(i)*time.Minute).UnixNano(), 1000, false, 1)
	}
	y.close()
}

func TestRollupDamage(t *testing.T) {
	dir := t.TempDir()
	r, err := openRollup(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Truncate(24 * time.Hour)
	for i := range 3 {
		addSpans(r, 5, at.Add(time.Duration(i)*time.Hour))
		r.closeMinutes(time.Now(), 0)
	}
	path := filepath.Join(dir, at.UTC().Format(dayLayout)+rollupSuffix)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	record := len(whole) / 3
	count := func(file []byte) int {
		t.Helper()
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := openRollup(dir)
		if err != nil {
			t.Fatal(err)
		}
		minute := at.Unix() / 60
		return len(readRollup(t, r, store.Tenant{}, minute, minute+1000, nil))
	}
	if got := count(whole); got != 15 {
		t.Fatalf("%d minutes in the whole file, want 15", got)
	}
	bad := slices.Clone(whole)
	bad[record+recordHeader+3] ^= 1 // payload of the second record
	if got := count(bad); got != 10 {
		t.Errorf("%d minutes with one damaged payload, want 10", got)
	}
	bad = slices.Clone(whole)
	bad[record+5] ^= 1 // its header
	if got := count(bad); got != 5 {
		t.Errorf("%d minutes with one damaged header, want the 5 before it", got)
	}
	if got := count(whole[:len(whole)-4]); got != 10 {
		t.Errorf("%d minutes in a torn file, want 10", got)
	}
}

func TestRollupDropsDays(t *testing.T) {
	r, err := openRollup(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Truncate(24 * time.Hour).Add(time.Hour)
	for i := range 3 {
		addSpans(r, 5, at.Add(-time.Duration(i)*24*time.Hour))
		if i < 2 {
			r.closeMinutes(time.Now(), 0)
		}
	}
	if err := r.dropBefore(at.Add(-24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	minute := at.Unix() / 60
	if got := len(readRollup(t, r, store.Tenant{}, minute-9999, minute+9999, nil)); got != 10 {
		t.Errorf("%d minutes left, want the 10 of two days", got)
	}
	files, err := os.ReadDir(r.dir)
	if err != nil || len(files) != 2 {
		t.Errorf("%d files left, error %v; want 2", len(files), err)
	}
}

func TestRollupIsBounded(t *testing.T) {
	r, err := openRollup(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Truncate(24 * time.Hour)
	var y tally
	for i := range maxOpenCells + 1000 {
		y.span(r, store.Tenant{}, "order", at.Add(time.Duration(i/100)*time.Minute).UnixNano(), int64(1)<<(i%50), i%100 >= 50, 1)
		if i%1000 == 0 {
			y.close()
		}
	}
	y.close()
	if r.cells > maxOpenCells {
		t.Errorf("%d cells open, want at most %d", r.cells, maxOpenCells)
	}
	for i := range 2 * maxServicesPerMinute {
		y.span(r, store.Tenant{Account: 1}, "service"+string(rune(i+0x4e00)), at.UnixNano(), 1, false, 1)
		y.close()
	}
	var total uint64
	services := map[string]bool{}
	for k, s := range readRollup(t, r, store.Tenant{Account: 1}, at.Unix()/60, at.Unix()/60+1, nil) {
		total += s.Count
		services[k.Service] = true
	}
	if total != 2*maxServicesPerMinute || len(services) > maxServicesPerMinute+1 {
		t.Errorf("%d spans of %d services, want all %d spans and at most %d services", total, len(services), 2*maxServicesPerMinute, maxServicesPerMinute+1)
	}
}

// A write that fails costs nothing: what could not be closed stays open and is
// written later.
func TestRollupWriteFails(t *testing.T) {
	dir := t.TempDir()
	r, err := openRollup(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Truncate(24 * time.Hour)
	path := filepath.Join(dir, at.UTC().Format(dayLayout)+rollupSuffix)
	if err := os.Mkdir(path, 0o755); err != nil { // stands in the way
		t.Fatal(err)
	}
	addSpans(r, 5, at)
	r.closeMinutes(time.Now(), 0)
	if _, err := r.freeze(); err == nil {
		t.Error("freeze tells nothing of a failed write")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.closeMinutes(time.Now(), 0)
	if _, err := r.freeze(); err != nil {
		t.Errorf("freeze after the cause is gone: %v", err)
	}
	minute := at.Unix() / 60
	if got := len(readRollup(t, r, store.Tenant{}, minute, minute+99, nil)); got != 5 {
		t.Errorf("%d minutes, want 5", got)
	}
}

func TestSpanCodecFreeze(t *testing.T) {
	dir := t.TempDir()
	open := func() *spanCodec {
		r, err := openRollup(dir)
		if err != nil {
			t.Fatal(err)
		}
		return newSpanCodec(testRetention, r)
	}
	c := open()
	at := time.Now().Truncate(time.Minute)
	addSpans(c.rollup, 3, at)
	blob, err := c.freeze()
	if err != nil {
		t.Fatal(err)
	}
	addSpans(c.rollup, 3, at) // will be replayed
	c.rollup.closeMinutes(time.Now(), 0)
	again := open()
	if err := again.restore(blob); err != nil {
		t.Fatal(err)
	}
	addSpans(again.rollup, 3, at)
	var n uint64
	for _, s := range readRollup(t, again.rollup, store.Tenant{}, at.Unix()/60, at.Unix()/60+9, nil) {
		n += s.Count
	}
	if n != 6 {
		t.Errorf("%d spans counted after restore and replay, want 6", n)
	}
	for i := range blob {
		if err := open().restore(blob[:i]); err == nil && i < len(blob)-2 {
			t.Errorf("restore took the first %d of %d bytes", i, len(blob))
		}
	}
}

func FuzzRollupPayload(f *testing.F) {
	m := &openMinute{services: map[string]*serviceCells{"order": {}}}
	m.services["order"].add(cell{band: 40, count: 3, weight: 3})
	m.services["order"].add(cell{band: 41, failed: true, count: 3, weight: 4.5})
	f.Add(appendMinute(nil, minuteKey{store.Tenant{}, 28_000_000}, m))
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := minuteDecoder{want: minuteFilter{from: 0, to: 1 << 40}, yield: func(_ int64, _ string, cells []cell) {
			for _, c := range cells {
				if int(c.band) > maxBand {
					t.Fatalf("band %d", c.band)
				}
			}
		}}
		_ = d.minutes(payload)
		r := rollup{open: make(map[minuteKey]*openMinute), names: make(map[string]string)}
		for rest := payload; len(rest) > 0; {
			var err error
			if rest, err = r.restoreMinute(rest, time.Time{}); err != nil {
				break
			}
		}
	})
}
