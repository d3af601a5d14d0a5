package event

import (
	"fmt"
	"slices"
	"testing"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// Rows are picked by what they are, not by where they lie.
func TestPick(t *testing.T) {
	const rows, stride = 10_000, 4
	ids := make([]string, rows)
	for i := range ids {
		ids[i] = fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15)
	}
	picked := func(ids []string, stride uint64) (out []string) {
		for _, i := range pick(nil, &logstorage.DataBlock{Columns: []logstorage.BlockColumn{{Name: colSpanID, Values: ids}}}, stride) {
			out = append(out, ids[i])
		}
		return out
	}
	whole := picked(ids, stride)
	if n := len(whole); n < rows/stride*9/10 || n > rows/stride*11/10 {
		t.Errorf("%d of %d rows, want a quarter", n, rows)
	}
	var parts []string
	for _, block := range [...][]string{ids[700:], ids[:13], ids[13:700]} {
		parts = append(parts, picked(block, stride)...)
	}
	slices.Sort(whole)
	if slices.Sort(parts); !slices.Equal(parts, whole) {
		t.Errorf("%d rows of blocks in another order, want the same %d", len(parts), len(whole))
	}
	if got := picked(ids, 1); !slices.Equal(got, ids) {
		t.Errorf("%d rows, want all", len(got))
	}
}
