package api

import (
	"testing"
	"time"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := func(in string, want time.Time) {
		t.Helper()
		got, err := parseMoment(in, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v; want %v", in, got, err, want)
		}
	}
	f("now", now)
	f("now-15m", now.Add(-15*time.Minute))
	f("now-1d12h", now.Add(-36*time.Hour))
	f("now+1h", now.Add(time.Hour))
	f("now 1h", now.Add(time.Hour)) // an unescaped plus sign
	f("2026-01-02T15:04:05Z", time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC))
	f("2026-01-02T15:04:05.123456789+08:00", time.Date(2026, 1, 2, 7, 4, 5, 123456789, time.UTC))
	f("2026-01-02T15:04:05 08:00", time.Date(2026, 1, 2, 7, 4, 5, 0, time.UTC))
	f("0", time.Unix(0, 0))
	f("1767366245", time.Unix(1767366245, 0))
	f("1767366245.25", time.Unix(1767366245, 250e6))
	f("1767366245123", time.UnixMilli(1767366245123))
	f("1767366245123456", time.UnixMicro(1767366245123456))
	f("1767366245123456789", time.Unix(0, 1767366245123456789))
	f("-1", time.Unix(-1, 0))

	for _, in := range []string{"", "now-", "now-5", "now*1h", "yesterday", "2026-01-02", "1e300", "NaN", "99999999999999999999", "9999-01-01T00:00:00Z", "99999999999", "now+2300000h"} {
		if got, err := parseMoment(in, now); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
}

func FuzzParseMoment(f *testing.F) {
	for _, s := range []string{"now-1h", "2026-01-02T15:04:05Z", "1767366245.5", "-9223372036854775808", "now+300y"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, in string) {
		got, err := parseMoment(in, now)
		if err == nil && time.Unix(0, got.UnixNano()).Compare(got) != 0 {
			t.Errorf("%q: %v does not fit in Unix nanoseconds", in, got)
		}
	})
}
