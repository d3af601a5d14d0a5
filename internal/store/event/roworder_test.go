package event

import (
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// Rows come in order whatever came before them, with the fields that they had.
func TestRowOrder(t *testing.T) {
	names := []string{"service.name", "a:x", "_g_types", "name", "r:host", "a:b", "kind", "", "span_id"}
	rapid.Check(t, func(t *rapid.T) {
		var o rowOrder
		for range rapid.IntRange(1, 20).Draw(t, "rows") {
			var fields []logstorage.Field
			for _, name := range rapid.Permutation(names).Draw(t, "names")[:rapid.IntRange(0, len(names)).Draw(t, "columns")] {
				fields = append(fields, logstorage.Field{Name: name, Value: rapid.StringN(0, 3, 9).Draw(t, "value")})
			}
			want := slices.Clone(fields)
			slices.SortFunc(want, func(a, b logstorage.Field) int { return strings.Compare(a.Name, b.Name) })
			if diff := cmp.Diff(want, slices.Clone(o.sorted(fields)), cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// The layouts that are remembered are bounded.
func TestRowOrderForgets(t *testing.T) {
	var o rowOrder
	for range 2*maxLayouts + 10 {
		o.sorted([]logstorage.Field{{Name: strings.Clone("name"), Value: "v"}, {Name: "kind", Value: "v"}})
	}
	if n := len(o.known); n == 0 || n > maxLayouts {
		t.Errorf("%d layouts are known", n)
	}
}

// Rows are in the streams that the engine itself would choose by their first
// field, as those of earlier versions are.
func TestRowStreams(t *testing.T) {
	for _, tag := range []logstorage.Field{{Name: colService, Value: "order"}, {Name: colShared, Value: "1"}, {Name: colService}} {
		var b rowBuilder
		b.fields = []logstorage.Field{tag, {Name: "b", Value: "2"}, {Name: "a", Value: "1"}}
		b.tagStream(tag)
		got, want := logstorage.GetLogRows(nil, nil, nil, nil, ""), logstorage.GetLogRows(nil, nil, nil, nil, "")
		b.addTo(got, logstorage.TenantID{AccountID: 7}, 42)
		want.MustAdd(logstorage.TenantID{AccountID: 7}, 42, b.fields, 1)
		type stream struct {
			Hash      uint64
			Canonical string
			Tenant    uint32
			At        int64
		}
		streams := func(lr *logstorage.LogRows) (all []stream) {
			lr.ForEachRow(func(hash uint64, r *logstorage.InsertRow) {
				all = append(all, stream{hash, r.StreamTagsCanonical, r.TenantID.AccountID, r.Timestamp})
			})
			return all
		}
		if diff := cmp.Diff(streams(want), streams(got)); diff != "" || len(streams(got)) != 1 {
			t.Errorf("%v: stream (-engine's +ours):\n%s", tag, diff)
		}
	}
}
