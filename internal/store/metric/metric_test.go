package metric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"

	"github.com/guanlan-io/guanlan/internal/store"
)

// openStore opens a store that ends with the test.
func openStore(t testing.TB, change ...func(*Options)) *Store {
	t.Helper()
	opts := Options{Dir: t.TempDir()}
	for _, c := range change {
		c(&opts)
	}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func in(dir string) func(*Options) { return func(o *Options) { o.Dir = dir } }

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// instant evaluates an expression and renders the result as sorted lines.
func instant(t testing.TB, s *Store, tenant store.Tenant, expr string, at time.Time) []string {
	t.Helper()
	samples, err := s.Instant(context.Background(), tenant, expr, at)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, p := range samples {
		out = append(out, fmt.Sprintf("%s %v", labels.FromMap(p.Labels), p.Value))
	}
	slices.Sort(out)
	return out
}

func wantLines(t testing.TB, got []string, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// put appends one sample through the appender of scrapes and rules.
func put(s *Store, tenant store.Tenant, name string, at time.Time, v float64) error {
	a := s.Database(tenant).Appender(context.Background())
	if _, err := a.Append(0, labels.FromStrings("__name__", name), at.UnixMilli(), v); err != nil {
		return errors.Join(err, a.Rollback())
	}
	return a.Commit()
}

func TestOpenRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no folder":       {},
		"short retention": {Dir: t.TempDir(), Retention: time.Minute},
		"negative limit":  {Dir: t.TempDir(), QueryMemory: -1},
	} {
		if s, err := Open(o); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
			if err == nil {
				closeStore(t, s)
			}
		}
	}
}

func TestTenantsAreApart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, in(dir))
	now := time.Now()
	a, b := store.Tenant{Account: 12}, store.Tenant{Account: 12, Project: 3}
	for i, tenant := range []store.Tenant{{}, a, b} {
		if err := put(s, tenant, "m", now, float64(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, tenant := range []store.Tenant{{}, a, b} {
		wantLines(t, instant(t, s, tenant, "m", now), fmt.Sprintf(`{__name__="m"} %d`, i))
	}
	for _, name := range []string{"0", "12", "12_3"} {
		if _, err := os.Stat(filepath.Join(dir, name, "wal")); err != nil {
			t.Error(err)
		}
	}
}

func TestReadingMakesNoTenant(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, in(dir))
	nobody := store.Tenant{Account: 7}
	wantLines(t, instant(t, s, nobody, "m", time.Now()))
	d := s.Database(nobody)
	if eq, err := d.ExemplarQuerier(context.Background()); err != nil {
		t.Error(err)
	} else if got, err := eq.Select(0, 1<<60); len(got) != 0 || err != nil {
		t.Errorf("exemplars: got %v, %v", got, err)
	}
	if st, err := d.Stats("__name__", 10); err != nil || st.NumSeries != 0 {
		t.Errorf("stats: got %v, %v", st, err)
	}
	if got, err := d.BlockMetas(); err != nil || len(got) != 0 {
		t.Errorf("blocks: got %v, %v", got, err)
	}
	if err := d.Delete(context.Background(), 0, 1); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder of a tenant that was only read: got %v, want none", err)
	}
}

func TestTenantLimit(t *testing.T) {
	s := openStore(t)
	s.mu.Lock() // as if the other tenants were open: opening all takes seconds
	for i := len(s.tenants); i < MaxTenants; i++ {
		tenant := store.Tenant{Account: uint32(100 + i)}
		s.tenants[tenant] = newInstance(s, tenant, filepath.Join(s.opts.Dir, tenantDir(tenant)))
	}
	s.mu.Unlock()
	err := put(s, store.Tenant{Account: 1}, "m", time.Now(), 1)
	if !errors.Is(err, ErrTenants) || !errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "another instance") {
		t.Errorf("got %v, want ErrTenants and what to do", err)
	}
	// One that an earlier process kept is refused its reads, too.
	old := store.Tenant{Account: 2}
	if err := os.Mkdir(filepath.Join(s.opts.Dir, tenantDir(old)), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Instant(context.Background(), old, "m", time.Now()); !errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("read: got %v, want ErrInvalid", err)
	}
	if err := s.Database(old).Admit(); !errors.Is(err, ErrTenants) {
		t.Errorf("admit: got %v, want ErrTenants", err)
	}
	if err := put(s, store.Tenant{}, "m", time.Now(), 1); err != nil {
		t.Errorf("default tenant: %v", err)
	}
}

func TestTenantDir(t *testing.T) {
	for name, want := range map[string]bool{"0": true, "12": true, "12_3": true, "12_0": false, "012": false, "1_2_3": false, "reserve": false, "": false} {
		tenant, ok := parseTenantDir(name)
		if ok != want {
			t.Errorf("%q: got %v, %v", name, tenant, ok)
		}
		if ok && tenantDir(tenant) != name {
			t.Errorf("%q: back as %q", name, tenantDir(tenant))
		}
	}
}

func TestReopenKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	tenants := []store.Tenant{{}, {Account: 5}}
	s := openStore(t, in(dir))
	for _, tenant := range tenants {
		for i := range 300 {
			if err := put(s, tenant, "m", now.Add(time.Duration(i-300)*time.Second), float64(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := put(s, tenant, "m", now.Add(-20*time.Minute), 42); err != nil { // out of order
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	if err := put(s, store.Tenant{}, "m", now, 1); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("write after Close: got %v, want ErrUnavailable", err)
	}
	s = openStore(t, in(dir))
	for _, tenant := range tenants {
		wantLines(t, instant(t, s, tenant, "count_over_time(m[1h])", now), "{} 301")
	}
}

func TestCloseWaitsForReaders(t *testing.T) {
	s := openStore(t)
	if err := put(s, store.Tenant{}, "m", time.Now(), 1); err != nil {
		t.Fatal(err)
	}
	q, err := s.Database(store.Tenant{}).Querier(0, 1<<60)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Close under a reader: got %v, want that of the context", err)
	}
	// The reader still reads: the engine was left alone.
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
	if !set.Next() {
		t.Errorf("no series: %v", set.Err())
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Database(store.Tenant{}).Querier(0, 1); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("read after Close: got %v, want ErrUnavailable", err)
	}
	// Let the folder be removed.
	in := s.tenants[store.Tenant{}]
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAppenderIsUsedOnce(t *testing.T) {
	s := openStore(t)
	a := s.Database(store.Tenant{}).Appender(context.Background())
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(); err == nil {
		t.Error("second Commit succeeded")
	}
	if err := a.Rollback(); err == nil {
		t.Error("Rollback after Commit succeeded")
	}
	// The gate must have been left once: closing waits for nobody (Cleanup).
}

func TestAppendRejections(t *testing.T) {
	s := openStore(t)
	now := time.Now()
	for i, c := range []struct {
		name string
		at   time.Time
		v    float64
		want Reason
		err  error
	}{
		{"m", now, 1, "", nil},
		{"m", now, 1, "", nil}, // the same again is no error
		{"m", now, 2, Duplicate, storage.ErrDuplicateSampleForTimestamp},
		{"m", now.Add(-10 * time.Minute), 3, "", nil}, // late, within the window
		{"m", now.Add(-2 * time.Hour), 4, TooOld, storage.ErrTooOldSample},
		{"other", now.Add(-400 * 24 * time.Hour), 5, TooOld, storage.ErrTooOldSample},
		{"m", now.Add(time.Hour), 6, TooNew, storage.ErrOutOfBounds},
		{"m", now.Add(5 * time.Minute), 7, "", nil},
	} {
		before := s.Stats().Rejected
		err := put(s, store.Tenant{}, c.name, c.at, c.v)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%d: got %v, want %v", i, err, c.err)
		}
		after := s.Stats().Rejected
		for _, r := range reasons {
			want := before[r]
			if r == c.want {
				want++
			}
			if after[r] != want {
				t.Errorf("%d: rejected %s: got %d, want %d", i, r, after[r], want)
			}
		}
	}
}

func TestOutOfOrderCanBeOff(t *testing.T) {
	s := openStore(t, func(o *Options) { o.OutOfOrder = -1 })
	now := time.Now()
	if err := put(s, store.Tenant{}, "m", now, 1); err != nil {
		t.Fatal(err)
	}
	if err := put(s, store.Tenant{}, "m", now.Add(-time.Minute), 1); !errors.Is(err, storage.ErrOutOfOrderSample) {
		t.Errorf("got %v, want %v", err, storage.ErrOutOfOrderSample)
	}
	if got := s.Stats().Rejected[OutOfOrder]; got != 1 {
		t.Errorf("rejected: got %d, want 1", got)
	}
}

func TestConcurrentTenants(t *testing.T) {
	s := openStore(t)
	now := time.Now()
	var wg sync.WaitGroup
	for w := range 8 {
		tenant := store.Tenant{Account: uint32(w % 4)}
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("m%d", w)
				if err := put(s, tenant, name, now.Add(time.Duration(i)*time.Second), float64(i)); err != nil {
					t.Error(err)
				}
				if _, err := s.Instant(context.Background(), tenant, name, now); err != nil {
					t.Error(err)
				}
				_ = s.Stats()
			}
		})
	}
	wg.Wait()
	if got := s.Stats(); got.Appended != 400 || got.Tenants != 4 || got.Series != 8 || got.Queries != 400 {
		t.Errorf("got %d samples, %d tenants, %d series, %d queries; want 400, 4, 8, 400", got.Appended, got.Tenants, got.Series, got.Queries)
	}
}

func TestExportedMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s := openStore(t, func(o *Options) { o.Registerer = reg; o.Logger = slog.New(slog.DiscardHandler) })
	for _, tenant := range []store.Tenant{{}, {Account: 9}} {
		if err := put(s, tenant, "m", time.Now(), 1); err != nil {
			t.Fatal(err)
		}
	}
	series := func() map[string]float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			if f.GetName() != "prometheus_tsdb_head_series" {
				continue
			}
			for _, m := range f.Metric {
				got[m.Label[0].GetName()+"="+m.Label[0].GetValue()] = m.Gauge.GetValue()
			}
		}
		return got
	}
	if d := cmp.Diff(map[string]float64{"tenant=0": 1, "tenant=9": 1}, series()); d != "" {
		t.Error(d)
	}
	closeStore(t, s)
	if got := series(); len(got) != 0 {
		t.Errorf("after Close: got %v, want nothing", got)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for range 2 {
		s, err := Open(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		b := newBatch(nil)
		b.sum("n", "", delta, time.Now(), 1)
		if err := s.Write(context.Background(), store.Tenant{Account: 2}, b.Metrics); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Instant(context.Background(), store.Tenant{}, "m", time.Now()); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
	}
	goleak.VerifyNone(t, before)
}
