package event

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

// The engine types a block's column by its values and writes them back in its
// own way. Texts behind the guard must come back as they went in, whatever
// stands beside them.
func TestGuardKeepsTexts(t *testing.T) {
	s := openTestStorage(t)
	digits := rapid.StringMatching(`[0-9]{1,6}`)
	looks := []*rapid.Generator[string]{
		rapid.StringMatching(`-?[0-9_]{1,20}`),
		rapid.StringMatching(`\+{0,2}-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,4})?`),
		rapid.StringMatching(`[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}`),
		rapid.StringMatching(`20[0-9]{2}-[0-3][0-9]-[0-4][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]\.[0-9]{3}Z`),
		rapid.Custom(func(t *rapid.T) string {
			return strconv.FormatFloat(rapid.Float64Range(-1e6, 1e6).Draw(t, "f"), 'f', -1, 64)
		}),
		rapid.Custom(func(t *rapid.T) string { return strconv.FormatInt(rapid.Int64().Draw(t, "i"), 10) }),
		rapid.Custom(func(t *rapid.T) string { return strconv.FormatUint(rapid.Uint64().Draw(t, "u"), 10) }),
		rapid.Custom(func(t *rapid.T) string { return digits.Draw(t, "a") + "." + digits.Draw(t, "b") }),
	}
	var tenant store.Tenant
	rapid.Check(t, func(t *rapid.T) {
		tenant.Account++
		values := rapid.SliceOfN(rapid.SampledFrom(looks).Draw(t, "look"), 10, 40).Draw(t, "values")
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		for i, v := range values {
			lr.MustAdd(tenantID(tenant), time.Now().UnixNano()+int64(i), []logstorage.Field{{Name: "v", Value: guarded(v)}, {Name: "i", Value: strconv.Itoa(i)}}, 0)
		}
		s.MustAddRows(lr)
		logstorage.PutLogRows(lr)
		s.DebugFlush()
		got := make([]string, len(values))
		q, err := logstorage.ParseQuery("* | fields i, v")
		if err != nil {
			t.Fatal(err)
		}
		err = s.RunQuery(logstorage.NewQueryContext(context.Background(), &logstorage.QueryStats{}, []logstorage.TenantID{tenantID(tenant)}, q, false, nil), func(_ uint, db *logstorage.DataBlock) {
			for r, v := range db.GetColumnByName("v").Values {
				i, _ := strconv.Atoi(db.GetColumnByName("i").Values[r])
				got[i] = strings.Clone(unguarded(v))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(values, got); diff != "" {
			t.Fatalf("written (-) and read (+) differ:\n%s", diff)
		}
	})
}

func TestGuardIsUnambiguous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(drawText, rapid.StringMatching(`[+]{0,3}[0-9._-]{0,6}`)).Draw(t, "s")
		if got := unguarded(guarded(s)); got != s {
			t.Fatalf("unguarded(guarded(%q)) = %q", s, got)
		}
	})
}

func TestNeedsGuard(t *testing.T) {
	for _, s := range []string{"0.3", "1.10", "1.0", "1_000", "-0", "_", "01.2.3.4", "2024-01-01 00:00:00.000Z", "2024-02-30T00:00:00.000Z", "+0.3", "-0.3", "-0.3e0"} {
		if !needsGuard(s) {
			t.Errorf("needsGuard(%q) = false: the engine would change it", s)
		}
	}
	for _, s := range []string{"", "0", "200", "-5", "0.5", "1.25", "007", "1.2.3.4", "2024-01-01T00:00:00.000Z", "abc", "+5", "1e5", "v1.10", "-1e0", "+-0.3"} {
		if needsGuard(s) {
			t.Errorf("needsGuard(%q) = true: it would lie among the numbers as a string for nothing", s)
		}
	}
}

func TestTextTellsValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := pcommon.NewValueEmpty()
		drawValue(t, v, 0)
		text, code, exact := appendText(nil, wireValue(t, v))
		got := pcommon.NewValueEmpty()
		if !putText(got, string(text), code) {
			t.Fatalf("putText does not take %q with code %q", text, code)
		}
		if exact && dumpValue(got) != dumpValue(v) {
			t.Fatalf("%s became %s by way of %q, code %q", dumpValue(v), dumpValue(got), text, code)
		}
	})
}

func TestPackedValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := pcommon.NewValueEmpty()
		drawValue(t, v, 0)
		u := unpacker{s: string(packValue(nil, wireValue(t, v), &cutter{limit: math.MaxInt}, 0))}
		got := pcommon.NewValueEmpty()
		u.value(got, 0)
		if u.err != nil || u.more() || dumpValue(got) != dumpValue(v) {
			t.Fatalf("%s became %s, error %v, rest %q", dumpValue(v), dumpValue(got), u.err, u.s)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	v := pcommon.NewValueMap()
	v.Map().PutEmptySlice("a").AppendEmpty().SetDouble(0.5)
	v.Map().PutEmptyBytes("b").FromRaw([]byte{1, 2})
	f.Add(string(packValue(nil, wireValue(f, v), &cutter{limit: 100}, 0)))
	f.Add("\x08\x1f\x1f\x1f")
	f.Fuzz(func(t *testing.T, s string) {
		u := unpacker{s: s}
		got := pcommon.NewValueEmpty()
		u.value(got, 0)
		if u.err == nil { // what reads well, writes and reads the same
			again := unpacker{s: string(packValue(nil, wireValue(t, got), &cutter{limit: math.MaxInt}, 0))}
			same := pcommon.NewValueEmpty()
			again.value(same, 0)
			if utf8.ValidString(s) && dumpValue(same) != dumpValue(got) {
				t.Errorf("%s became %s", dumpValue(got), dumpValue(same))
			}
		}
	})
}
