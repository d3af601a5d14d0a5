package event

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

// place is where a row stands in the order of pages: newest first, rows of the
// same instant by the hash of what they say, rows that say the same by number.
// The engine has no row ids; this holds over merges and restarts.
type place struct {
	at     int64
	hash   uint64
	number int
}

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.hash, b.hash), cmp.Compare(a.number, b.number))
}

// cursor is the text of a place.
func (p place) cursor() store.Cursor {
	return store.Cursor(strconv.FormatInt(p.at, 36) + "." + strconv.FormatUint(p.hash, 36) + "." + strconv.Itoa(p.number))
}

// parseCursor gives nil for the empty cursor.
func parseCursor(c store.Cursor) (*place, error) {
	if c == "" {
		return nil, nil
	}
	at, rest, _ := strings.Cut(string(c), ".")
	hash, number, _ := strings.Cut(rest, ".")
	var p place
	var err1, err2, err3 error
	p.at, err1 = strconv.ParseInt(at, 36, 64)
	p.hash, err2 = strconv.ParseUint(hash, 36, 64)
	p.number, err3 = strconv.Atoi(number)
	if err1 != nil || err2 != nil || err3 != nil || p.at < 0 || p.number < 0 {
		return nil, fmt.Errorf("cursor %q is not of this store: %w", c, store.ErrInvalid)
	}
	return &p, nil
}

// number counts rows that say the same; rows are in order.
func number[T any](rows []T, placeOf func(*T) *place) {
	for i := 1; i < len(rows); i++ {
		before, p := placeOf(&rows[i-1]), placeOf(&rows[i])
		if before.at == p.at && before.hash == p.hash {
			p.number = before.number + 1
		}
	}
}

const (
	// firstWindow is how far back the search for a page looks first.
	firstWindow = int64(1e9)
	// maxWiden bounds by how much one step widens the search.
	maxWiden = 16
	// maxTimes bounds the times kept while searching, 8 MiB.
	maxTimes = 1 << 20
	// maxPageRows bounds the rows read for a page: a page and what ends in
	// the same instant as its last row.
	maxPageRows = 20 * store.MaxPage
)

// pageWindow finds the newest stretch of a query's range, from the cursor on,
// that holds one row more than limit, so that only that much is read in full.
// It looks at times only, widening the stretch as needed.
func (r *reader) pageWindow(ctx context.Context, q question, limit int, after *place) (window, error) {
	end := q.to
	need := limit + 1
	if after != nil {
		end = min(end, after.at+1)
	}
	var times []int64 // found, except those of the cursor's instant, which are read anyway
	width := firstWindow
	for from := end; from > q.from; {
		to := from
		from = max(q.from, from-width)
		err := r.ask(ctx, question{q.storage, q.tenant, from, to, q.filter, "| fields _time"}, func(db *logstorage.DataBlock) error {
			var ok bool
			n := len(times)
			if times, ok = db.GetTimestamps(times); !ok {
				return errPacked
			}
			if after != nil {
				times = append(times[:n], slices.DeleteFunc(times[n:], func(t int64) bool { return t == after.at })...)
			}
			if len(times) > maxTimes { // only the newest matter
				slices.Sort(times)
				times = append(times[:0], times[len(times)-need:]...)
			}
			return nil
		})
		if err != nil {
			return window{}, err
		}
		if len(times) >= need {
			slices.Sort(times)
			return window{times[len(times)-need], end}, nil
		}
		width = nextWidth(end-from, len(times), need)
	}
	return window{q.from, end}, nil
}

// nextWidth is how far to go on when have of need rows were found in the last
// searched nanoseconds.
func nextWidth(searched int64, have, need int) int64 {
	searched = min(searched, math.MaxInt64/(2*maxWiden))
	if have == 0 {
		return searched * maxWiden
	}
	widen := min(maxWiden, 2*float64(need-have)/float64(have))
	return max(firstWindow, int64(float64(searched)*widen))
}
