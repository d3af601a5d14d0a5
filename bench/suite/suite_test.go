package suite

import (
	"slices"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	all := []string{"ingest", "query", "start"}
	if got, err := Choose("all", all); err != nil || !slices.Equal(got, all) {
		t.Errorf("all: %q, %v", got, err)
	}
	if got, err := Choose("query,ingest", all); err != nil || !slices.Equal(got, []string{"query", "ingest"}) {
		t.Errorf("two: %q, %v", got, err)
	}
	if _, err := Choose("ingest,typo", all); err == nil {
		t.Error("an unknown part is no error")
	}
}

func TestMedian(t *testing.T) {
	if got := Median([]float64{9, 1, 4}); got != 4 {
		t.Errorf("median of three is %v, want 4", got)
	}
	if got := Median([]time.Duration{4, 1, 2, 9}); got != 3 {
		t.Errorf("median of four is %v, want 3", got)
	}
}
