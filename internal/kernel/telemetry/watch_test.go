//go:build linux

package telemetry

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

func TestQueueIsBoundedAndDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[int](5)
		for i := range 7 {
			if got := q.put(i); got != (i < 5) {
				t.Errorf("put %d: %v", i, got)
			}
		}
		var mu sync.Mutex
		var all [][]int
		sent := func() [][]int {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
		done := make(chan struct{})
		go func() {
			q.run(t.Context(), time.Second, 3, func(b []int) { mu.Lock(); all = append(all, b); mu.Unlock() })
			close(done)
		}()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if got := sent(); len(got) != 0 {
			t.Errorf("%v was handed over before others could join", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := sent(); len(got) != 2 || len(got[0]) != 3 || len(got[1]) != 2 {
			t.Errorf("handed over %v", got)
		}
		q.put(9)
		q.close()
		<-done
		if got := sent(); len(got) != 3 || q.put(10) {
			t.Errorf("after close: %v", got)
		}
	})
}

// Who takes telemetry may refuse for a while, and may take long: callbacks never wait.
func TestSlowConsumerLosesCountedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken, refusals atomic.Int64
		hold := make(chan struct{})
		w := started(t, Options{Origin: origin, Logs: func(ctx context.Context, l plog.Logs) error {
			<-hold
			if refusals.Add(1) <= 3 {
				return errors.New("memory is short")
			}
			taken.Add(int64(l.LogRecordCount()))
			return nil
		}})
		const all = maxEvents + 5000
		for i := range all {
			if i == 10 {
				time.Sleep(time.Second) // the first batch is on its way
				synctest.Wait()
			}
			w.event("audit", audit.Event{Kind: audit.Exit, PID: i})
		}
		lost := w.lost["audit"].Load()
		if lost != all-10-maxEvents {
			t.Errorf("lost %d, want %d", lost, all-10-maxEvents)
		}
		close(hold)
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := taken.Load(); got != maxEvents+10 {
			t.Errorf("%d were taken, want %d", got, maxEvents+10)
		}
	})
}

// What is refused for good is not offered again, and counts as lost.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := errors.New("never")
		var offers atomic.Int64
		w := started(t, Options{Origin: origin, Permanent: func(err error) bool { return errors.Is(err, never) },
			Logs: func(context.Context, plog.Logs) error { offers.Add(1); return never }})
		w.event("audit", audit.Event{Kind: audit.Exit})
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if offers.Load() != 1 || w.lost["audit"].Load() != 1 {
			t.Errorf("%d offers, %d lost", offers.Load(), w.lost["audit"].Load())
		}
	})
}

// Metrics of an interval that nobody took are missing for good; health is not. Events
// that the kernel's side held back are missing as well.
func TestLostIntervalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := errors.New("never")
		w := started(t, Options{Origin: origin, Permanent: func(err error) bool { return errors.Is(err, never) },
			Metrics: func(context.Context, pmetric.Metrics) error { return never }})
		w.lost["tcp"] = &atomic.Uint64{}
		w.report(tcp.Report{From: time.Now().Add(-time.Second), To: time.Now(), Suppressed: 3})
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.lost["tcp"].Load(); got != 4 {
			t.Errorf("%d lost, want 1 interval and 3 events", got)
		}
	})
}

// Close waits for who takes telemetry only as long as it may.
func TestCloseEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := started(t, Options{Origin: origin, Logs: func(ctx context.Context, _ plog.Logs) error { return errors.New("not now") }})
		w.event("audit", audit.Event{Kind: audit.Exit})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := w.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*time.Second || w.lost["audit"].Load() != 1 {
			t.Errorf("Close took %v, lost %d", took, w.lost["audit"].Load())
		}
	})
}

func started(t *testing.T, o Options) *Watch {
	t.Helper()
	w, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// While pipelines are exchanged, events wait and then go to the new ones.
func TestEventsWaitForChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var old, next atomic.Int64
		count := func(n *atomic.Int64) func(context.Context, plog.Logs) error {
			return func(_ context.Context, l plog.Logs) error { n.Add(int64(l.LogRecordCount())); return nil }
		}
		w := started(t, Options{Origin: origin, Logs: count(&old)})
		w.event("audit", audit.Event{Kind: audit.Exit})
		time.Sleep(time.Second)
		w.Hold()
		for range 5 {
			w.event("audit", audit.Event{Kind: audit.Exit})
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if old.Load() != 1 {
			t.Errorf("%d went to pipelines that are gone", old.Load()-1)
		}
		to := Options{Origin: origin, Logs: count(&next)}
		if !w.CanChange(to) || w.CanChange(Options{Origin: Origin{Host: "other"}}) || w.CanChange(Options{Origin: origin, Pin: "/pins"}) {
			t.Error("what can change cannot, or what cannot can")
		}
		if err := w.Change(to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if next.Load() != 5 || w.lost["audit"].Load() != 0 {
			t.Errorf("%d arrived, %d lost", next.Load(), w.lost["audit"].Load())
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A feature goes on with what it has, unless that is what changed; what was
// refused is tried again.
func TestChangeKeepsWhatIsTheSame(t *testing.T) {
	all := func() Options {
		return Options{Origin: origin, OOM: &oom.Options{}, Audit: &audit.Options{}, TCP: &tcp.Options{},
			Logs: func(context.Context, plog.Logs) error { return nil }}
	}
	w := started(t, all())
	defer w.Close(t.Context())
	for _, f := range w.Features() {
		if f.State == Missing {
			t.Skip(f.Err())
		}
	}
	rules, err := audit.ParseRules([]byte("version: 1\nrules:\n  - {id: one, title: one, severity: info, attack: T1059, on: open, path: /etc/one}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		change func(*Options)
		want   map[string]string
	}{
		{func(*Options) {}, map[string]string{"oom": Unchanged, "audit": Unchanged, "tcp": Unchanged}},
		{func(o *Options) { o.Audit.Rules = rules }, map[string]string{"oom": Unchanged, "audit": NewRules, "tcp": Unchanged}},
		{func(o *Options) { o.Audit.Rules = rules; o.TCP.SlowRTT = time.Second }, map[string]string{"oom": Unchanged, "audit": Unchanged, "tcp": Restarted}},
		{func(o *Options) { o.TCP = nil; o.Audit.RingSize = 1 << 16 }, map[string]string{"oom": Unchanged, "audit": Restarted, "tcp": Stopped}},
		{func(o *Options) { o.Audit.RingSize = 1 << 16 }, map[string]string{"oom": Unchanged, "audit": Unchanged, "tcp": Started}},
	} {
		before := map[string]kernel.Feature{}
		for _, s := range w.running.Status() {
			before[s.Name] = s.Feature
		}
		o := all()
		step.change(&o)
		if err := w.Change(o); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, f := range w.Features() {
			got[f.Name] = f.Change
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		for _, s := range w.running.Status() {
			if same := s.Feature == before[s.Name]; same != (got[s.Name] == Unchanged || got[s.Name] == NewRules) || s.Err != nil {
				t.Errorf("%s is %s: the same feature: %v, error %v", s.Name, got[s.Name], same, s.Err)
			}
		}
	}
}

func TestAskAnswers(t *testing.T) {
	w := started(t, Options{Origin: origin, OOM: &oom.Options{}, Answer: true})
	all, err := Ask(t.Context())
	if err != nil && len(all) == 0 {
		t.Fatal(err)
	}
	own := func(r Running) bool { return r.PID == os.Getpid() }
	i := slices.IndexFunc(all, own)
	if i < 0 || len(all[i].Features) != 1 || all[i].Features[0].Name != "oom" || all[i].Host != origin.Host {
		t.Errorf("got %+v", all)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, _ := Ask(t.Context()); slices.ContainsFunc(all, own) {
		t.Error("it answers after its end")
	}
}
