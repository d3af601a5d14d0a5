package metric

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

// TestAgainstMap does random writes through all doors, in and out of order,
// with repeats, between compactions and restarts, and compares with a map.
func TestAgainstMap(t *testing.T) {
	tenants := []store.Tenant{{}, {Account: 1}}
	type key struct {
		tenant, series int
		at             int64
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		open := func() *Store {
			s, err := Open(Options{Dir: dir})
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		shut := func(s *Store) {
			if err := s.Close(context.Background()); err != nil {
				rt.Fatal(err)
			}
		}
		s := open()
		defer func() { shut(s) }()
		base := time.Now().Add(-6 * time.Hour).Truncate(time.Second).UnixMilli()
		want := map[key]float64{}
		clock := map[int]int64{} // newest time by tenant

		// value is the same whenever a sample is sent again.
		value := func(k key) float64 { return float64(k.series*1_000_000) + float64(k.at-base)/1000 }
		write := func(rt *rapid.T) {
			tenant := rapid.IntRange(0, len(tenants)-1).Draw(rt, "tenant")
			door := rapid.IntRange(0, 2).Draw(rt, "door")
			var keys []key
			for range rapid.IntRange(1, 40).Draw(rt, "n") {
				// Up to 10 minutes ahead of the newest, up to 40 behind: some are too old.
				at := clock[tenant] + int64(rapid.IntRange(-40*60, 10*60).Draw(rt, "offset"))*1000
				k := key{tenant, rapid.IntRange(0, 3).Draw(rt, "series"), max(at, base)}
				keys = append(keys, k)
			}
			if clock[tenant] == 0 {
				for i := range keys {
					keys[i].at = base + int64(i)*1000
				}
			}
			newest := max(clock[tenant], 0)
			var partial *PartialError
			ctx := context.Background()
			// One request for each sample: which of a batch are too old depends
			// on the engine's idea of the newest at its begin.
			for _, k := range keys {
				var err error
				switch door {
				case 0:
					b := newBatch(nil)
					b.gauge(fmt.Sprintf("s%d", k.series), "", time.UnixMilli(k.at), value(k))
					err = s.Write(ctx, tenants[tenant], b.Metrics)
				case 1:
					_, err = s.WriteRemote(ctx, tenants[tenant], &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
						Labels:  []prompb.Label{{Name: "__name__", Value: fmt.Sprintf("s%d", k.series)}},
						Samples: []prompb.Sample{{Timestamp: k.at, Value: value(k)}},
					}}})
				case 2:
					a := s.Database(tenants[tenant]).AppenderV2(ctx)
					_, err = a.Append(0, labels.FromStrings("__name__", fmt.Sprintf("s%d", k.series)), 0, k.at, value(k), nil, nil, storage.AOptions{})
					if errors.Is(err, storage.ErrTooOldSample) {
						err = &PartialError{Rejected: map[Reason]int{TooOld: 1}}
					}
					err = errors.Join(err, a.Commit())
				}
				switch {
				case err == nil:
					want[k] = value(k)
					newest = max(newest, k.at)
				case errors.As(err, &partial) && partial.Rejected[TooOld] == 1 && newest-k.at > defaultOutOfOrder.Milliseconds():
					// as it should be
				default:
					rt.Fatalf("sample %v, %v behind the newest: %v", k, time.Duration(newest-k.at)*time.Millisecond, err)
				}
			}
			clock[tenant] = newest
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write":  write,
			"write2": write,
			"write3": write,
			"compact": func(*rapid.T) {
				s.compactAll(context.Background())
			},
			"restart": func(*rapid.T) {
				shut(s)
				s = open()
			},
			"": func(rt *rapid.T) {
				got := map[key]float64{}
				for i, tenant := range tenants {
					q, err := s.Database(tenant).Querier(0, time.Now().UnixMilli()*2)
					if err != nil {
						rt.Fatal(err)
					}
					set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", "s."))
					for set.Next() {
						var n int
						if _, err := fmt.Sscanf(set.At().Labels().Get("__name__"), "s%d", &n); err != nil {
							rt.Fatal(err)
						}
						it := set.At().Iterator(nil)
						for it.Next() == chunkenc.ValFloat {
							at, v := it.At()
							got[key{i, n, at}] = v
						}
						if it.Err() != nil {
							rt.Fatal(it.Err())
						}
					}
					if err := errors.Join(set.Err(), q.Close()); err != nil {
						rt.Fatal(err)
					}
				}
				if d := cmp.Diff(want, got, cmp.AllowUnexported(key{})); d != "" {
					rt.Fatal(d)
				}
			},
		})
	})
}
