package profile

import (
	"errors"
	"testing"

	"github.com/guanlan-io/guanlan/internal/store"
)

func FuzzDecode(f *testing.F) {
	b := newBuilder()
	rows := []row{b.add(cpu(noon, "main;a 1", "main;b 2 trace_id=x"), 1), b.add(cpu(noon, "main;b 3"), 2)}
	f.Add(encode(&b.table, rows))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		tab, rows, err := decode(data)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		s := newSum(true)
		s.add(tab, rows)
		if s.count > 0 {
			if locations, _ := s.written(); locations <= maxLocations {
				got := 0
				for _, one := range s.profile().Sample {
					got += len(one.Location)
				}
				if got != locations {
					t.Fatalf("%d locations, %d were told before", got, locations)
				}
			}
		}
		n := newBuilder()
		taken := n.take(tab, rows)
		again, rows2, err := decode(encode(&n.table, taken))
		if err != nil || len(rows2) != len(rows) {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		_ = summarize(newSeries(store.Tenant{}, "cpu", nil), again, rows2)
	})
}

func FuzzSummary(f *testing.F) {
	b := newBuilder()
	rows := []row{b.add(cpu(noon, "main;b 2 trace_id=x"), 1)}
	f.Add(appendSummary(nil, summarize(newSeries(store.Tenant{Account: 1}, "cpu", map[string]string{"a": "b"}), &b.table, rows)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readSummary(data)
		if err != nil {
			return
		}
		again, err := readSummary(appendSummary(nil, m))
		if err != nil || again.series.key != m.series.key || again.total != m.total {
			t.Fatalf("%+v becomes %+v, %v", m, again, err)
		}
	})
}
