package metric

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"

	"github.com/guanlan-io/guanlan/internal/store"
)

func newTestLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

func metadataOf(t model.MetricType, help string) metadata.Metadata {
	return metadata.Metadata{Type: t, Help: help}
}

func TestInstantAndRange(t *testing.T) {
	s := openStore(t)
	end := time.Now().Truncate(time.Minute)
	for i := range 10 {
		if err := put(s, store.Tenant{}, "m", end.Add(time.Duration(i-9)*time.Minute), float64(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	got, err := s.Instant(ctx, store.Tenant{}, "m", end)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Sample{{Labels{"__name__": "m"}, end, 9}}, got); d != "" {
		t.Error(d)
	}
	if got, err := s.Instant(ctx, store.Tenant{}, "1 + 2", end); err != nil || len(got) != 1 || got[0].Value != 3 || len(got[0].Labels) != 0 {
		t.Errorf("scalar: got %v, %v", got, err)
	}
	if got, err := s.Instant(ctx, store.Tenant{}, "m", end.Add(Lookback+time.Minute)); err != nil || len(got) != 0 {
		t.Errorf("beyond the lookback: got %v, %v", got, err)
	}
	rng, err := s.Range(ctx, store.Tenant{}, "m * 2", store.Range{Start: end.Add(-2 * time.Minute), End: end}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want := []Series{{Labels{}, []Point{{end.Add(-2 * time.Minute), 14}, {end.Add(-time.Minute), 16}, {end, 18}}}}
	if d := cmp.Diff(want, rng); d != "" {
		t.Error(d)
	}
	if got, err := s.Instant(ctx, store.Tenant{}, "max_over_time(m[5m:])", end); err != nil || len(got) != 1 || got[0].Value != 9 {
		t.Errorf("subquery without step: got %v, %v", got, err)
	}
}

func TestQueryErrors(t *testing.T) {
	s := openStore(t, func(o *Options) { o.QueryMemory = 100 * sampleBytes })
	now := time.Now()
	b := newBatch(nil)
	b.exponential("native", "", cumulative, now)
	if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := put(s, store.Tenant{}, "m", now.Add(time.Duration(i-200)*time.Second), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(s, store.Tenant{}, "m2", now, 1); err != nil {
		t.Fatal(err)
	}
	instant := func(expr string) error {
		_, err := s.Instant(context.Background(), store.Tenant{}, expr, now)
		return err
	}
	ranged := func(expr string, d, step time.Duration) error {
		_, err := s.Range(context.Background(), store.Tenant{}, expr, store.Range{Start: now.Add(-d), End: now}, step)
		return err
	}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"syntax", instant("sum("), store.ErrInvalid},
		{"range vector", instant("m2[5m]"), store.ErrInvalid},
		{"string", instant(`"s"`), store.ErrInvalid},
		{"histogram", instant("native"), store.ErrInvalid},
		{"histogram over time", ranged("native", time.Minute, time.Second), store.ErrInvalid},
		{"evaluation", instant(`label_replace({__name__=~"m.*"}, "__name__", "x", "", "")`), store.ErrInvalid},
		{"too many samples", instant("sum_over_time(m[10m])"), store.ErrLimit},
		{"too many points", ranged("m", 24*time.Hour, time.Second), store.ErrLimit},
		{"no step", ranged("m", time.Hour, 0), store.ErrInvalid},
		{"backwards", ranged("m", -time.Hour, time.Second), store.ErrInvalid},
		{"range of strings", ranged(`"s"`, time.Hour, time.Minute), store.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Instant(ctx, store.Tenant{}, "m", now); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
	if st := s.Stats(); st.QueriesFailed == 0 || st.QueriesRunning != 0 || st.QueriesWaiting != 0 {
		t.Errorf("stats: %d failed, %d running, %d waiting", st.QueriesFailed, st.QueriesRunning, st.QueriesWaiting)
	}
}

func TestQueriesTakeTurns(t *testing.T) {
	s := openStore(t, func(o *Options) { o.MaxQueries = 1; o.QueryTimeout = 50 * time.Millisecond })
	slot, err := s.engine.tracker.Insert(context.Background(), "long")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Instant(context.Background(), store.Tenant{}, "1", time.Now()); !errors.Is(err, store.ErrLimit) {
		t.Errorf("no turn within the timeout: got %v, want ErrLimit", err)
	}
	s.engine.tracker.Delete(slot)
	if _, err := s.Instant(context.Background(), store.Tenant{}, "1", time.Now()); err != nil {
		t.Error(err)
	}
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		first, second := g.enter(), g.enter()
		if !first || !second {
			t.Fatal("an open gate let nobody in")
		}
		g.leave()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := g.close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close with a user inside: got %v", err)
		}
		if g.enter() {
			t.Error("a shut gate let somebody in")
		}
		closed := make(chan error)
		go func() { closed <- g.close(context.Background()) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed with a user inside")
		default:
		}
		g.leave()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}
