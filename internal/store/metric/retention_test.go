package metric

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

func id(n int) ulid.ULID {
	var u ulid.ULID
	u[15], u[14] = byte(n), byte(n>>8)
	return u
}

// TestRetentionChoice compares the choice with the rule told in one sentence:
// a block goes when it is past the age, or when all that is not older, of all
// tenants, does not fit into the bound.
func TestRetentionChoice(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	rapid.Check(t, func(t *rapid.T) {
		age := time.Duration(rapid.IntRange(1, 1000).Draw(t, "age")) * time.Second
		bound := int64(rapid.IntRange(0, 300).Draw(t, "bound"))
		r := newRetention(age, 0)
		tenants := []store.Tenant{{}, {Account: 1}, {Account: 2}}
		held := map[store.Tenant][]blockInfo{}
		var logs int64
		n := 0
		for _, tenant := range tenants {
			l := int64(rapid.IntRange(0, 50).Draw(t, "logs"))
			r.setLogs(tenant, l)
			logs += l
			for range rapid.IntRange(0, 6).Draw(t, "blocks") {
				n++
				b := blockInfo{id(n), int64(rapid.IntRange(0, 1000).Draw(t, "maxt")) * 1000, int64(rapid.IntRange(1, 60).Draw(t, "size"))}
				held[tenant] = append(held[tenant], b)
			}
			gone := r.choose(tenant, held[tenant], now)
			held[tenant] = slices.DeleteFunc(held[tenant], func(b blockInfo) bool {
				_, ok := gone[b.id]
				if want := b.maxt < now.Add(-age).UnixMilli(); ok != want {
					t.Fatalf("age %v: block %+v: deleted %v, want %v", age, b, ok, want)
				}
				return ok
			})
		}
		r.maxBytes = bound
		for _, tenant := range tenants {
			got := r.choose(tenant, held[tenant], now)
			var kept []blockInfo
			for _, b := range held[tenant] {
				size := logs
				for _, others := range held {
					for _, o := range others {
						if o.maxt > b.maxt || o.maxt == b.maxt && o.id.Compare(b.id) >= 0 {
							size += o.size
						}
					}
				}
				want := bound > 0 && size > bound
				if _, gone := got[b.id]; gone != want {
					t.Fatalf("tenant %s, block %+v of %v, logs %d, bound %d: deleted %v, want %v", tenant, b, held, logs, bound, gone, want)
				} else if !gone {
					kept = append(kept, b)
				}
			}
			held[tenant] = kept
		}
	})
}

// backfill writes one sample a minute over the last d.
func backfill(t testing.TB, s *Store, tenant store.Tenant, d time.Duration) (from time.Time) {
	t.Helper()
	now := time.Now()
	from = now.Add(-d)
	a := s.Database(tenant).Appender(context.Background())
	for at := from; !at.After(now); at = at.Add(time.Minute) {
		for _, name := range []string{"a", "b"} {
			if _, err := a.Append(0, labels.FromStrings("__name__", name, "job", "j"), at.UnixMilli(), float64(at.Unix())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	return from
}

func TestCompactionWritesBlocks(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, in(dir))
	backfill(t, s, store.Tenant{}, 9*time.Hour)
	if err := put(s, store.Tenant{}, "late", time.Now().Add(-10*time.Minute), 1); err != nil {
		t.Fatal(err)
	}
	s.compactAll(context.Background())
	st := s.Stats()
	if st.Blocks == 0 || st.BlockBytes == 0 || time.Since(st.LastCompaction) > time.Minute || st.CompactionsFailed != 0 {
		t.Errorf("stats: %d blocks of %d bytes, last at %v, %d failed", st.Blocks, st.BlockBytes, st.LastCompaction, st.CompactionsFailed)
	}
	wantLines(t, instant(t, s, store.Tenant{}, `count_over_time(a[9h1m])`, time.Now()), `{job="j"} 541`)
	closeStore(t, s)

	blocks, _ := filepath.Glob(filepath.Join(dir, "0", "01*"))
	out := promtool(t, "tsdb", "list", filepath.Join(dir, "0"))
	for _, b := range blocks {
		if !strings.Contains(out, filepath.Base(b)) {
			t.Errorf("promtool does not list %s:\n%s", filepath.Base(b), out)
		}
	}
	if out := promtool(t, "tsdb", "analyze", filepath.Join(dir, "0")); !strings.Contains(out, "Series: 2") {
		t.Errorf("promtool analyze:\n%s", out)
	}
}

// promtool runs Prometheus' own tool.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestRetentionByAge(t *testing.T) {
	s := openStore(t, func(o *Options) { o.Retention = 4 * time.Hour })
	// Older than the retention is refused to begin with.
	if err := put(s, store.Tenant{}, "a", time.Now().Add(-5*time.Hour), 1); err == nil {
		t.Error("a sample older than the retention was taken")
	}
	backfill(t, s, store.Tenant{}, 4*time.Hour-time.Minute)
	s.compactAll(context.Background())
	before := s.Stats().Blocks
	if before == 0 {
		t.Fatal("no blocks")
	}
	// Time passes, nothing is written: blocks must go all the same.
	in := s.instances()[0]
	blocks := in.gen.Load().db.Blocks()
	infos := make([]blockInfo, len(blocks))
	for i, b := range blocks {
		infos[i] = blockInfo{b.Meta().ULID, b.Meta().MaxTime, b.Size()}
	}
	if got := s.retention.choose(store.Tenant{}, infos, time.Now().Add(8*time.Hour)); len(got) != before {
		t.Errorf("8 hours later: %d of %d blocks are to be deleted", len(got), before)
	}
}

func TestRetentionBySize(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, in(dir))
	backfill(t, s, store.Tenant{}, 12*time.Hour)
	s.compactAll(context.Background())
	st := s.Stats()
	if st.Blocks < 2 {
		t.Fatalf("%d blocks", st.Blocks)
	}
	closeStore(t, s)
	logs := dirSize(filepath.Join(dir, "0")) - st.BlockBytes
	s = openStore(t, in(dir), func(o *Options) { o.MaxBytes = logs + st.BlockBytes - 1 })
	if got := s.Stats().Blocks; got >= st.Blocks || got == 0 {
		t.Errorf("got %d blocks, want fewer than %d, and some", got, st.Blocks)
	}
}

func TestDormantTenants(t *testing.T) {
	dir := t.TempDir()
	tenant := store.Tenant{Account: 8, Project: 1}
	s := openStore(t, in(dir))
	backfill(t, s, tenant, 9*time.Hour)
	s.compactAll(context.Background())
	blocks := s.Stats().Blocks
	closeStore(t, s)

	// The store sweeps by itself, too: folders on their way out do not count.
	folders := func() int {
		m, _ := filepath.Glob(filepath.Join(dir, tenantDir(tenant), "01*"))
		return len(slices.DeleteFunc(m, func(p string) bool { return strings.HasSuffix(p, doomed) }))
	}
	if folders() != blocks || blocks == 0 {
		t.Fatalf("%d folders for %d blocks", folders(), blocks)
	}
	s = openStore(t, in(dir), func(o *Options) { o.Retention = 5 * time.Hour })
	s.sweepDormant(time.Now())
	left := folders()
	if left == 0 || left >= blocks {
		t.Errorf("after 5 hours' retention: %d of %d blocks", left, blocks)
	}
	if s.Stats().Tenants != 1 {
		t.Error("the sweep opened the tenant")
	}
	// What is left must open and hold what it should.
	got, err := s.Instant(context.Background(), tenant, "count(count_over_time(a[4h]))", time.Now())
	if err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	s.sweepDormant(time.Now().Add(24 * time.Hour)) // open now: not the sweep's business
	if folders() != left {
		t.Error("the sweep deleted blocks of an open tenant")
	}
}

func TestFamiliesAreBounded(t *testing.T) {
	f := loadFamilies(filepath.Join(t.TempDir(), familiesFile), newTestLogger())
	m := metadataOf("gauge", strings.Repeat("界", maxHelp))
	f.note("x", m)
	got := f.get("x")["x"]
	if len(got.Help) > maxHelp || !strings.HasPrefix(m.Help, got.Help) {
		t.Errorf("help of %d bytes", len(got.Help))
	}
	for i := range maxFamilies + 10 {
		f.note(id(i).String(), metadataOf("counter", ""))
	}
	if got := len(f.get("")); got != maxFamilies {
		t.Errorf("got %d families, want %d", got, maxFamilies)
	}
	f.note("x", metadataOf("counter", "new")) // known ones still change
	if got := f.get("x")["x"].Help; got != "new" {
		t.Errorf("got %q", got)
	}
}

func TestFamiliesSurviveABadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), familiesFile)
	if err := os.WriteFile(path, []byte(`{"a":`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := loadFamilies(path, newTestLogger())
	f.note("a", metadataOf("gauge", "h"))
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f.get(""), loadFamilies(path, newTestLogger()).get("")); d != "" {
		t.Error(d)
	}
}
