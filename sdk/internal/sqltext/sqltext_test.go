package sqltext

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func TestSummary(t *testing.T) {
	f := func(query, want string) {
		t.Helper()
		for _, system := range []string{"postgresql", "mysql", "sqlite", ""} {
			if strings.Contains(query, `"`) && system != "postgresql" && system != "sqlite" {
				continue
			}
			if got := NewCache(system).Shape(query).Summary; got != want {
				t.Errorf("%s: summary of %q is %q, want %q", system, query, got, want)
			}
		}
	}
	// Those of the semantic conventions in other words.
	f("SELECT a\nFROM   users\nWHERE  name = ?", "SELECT users")
	f("INSERT INTO bills (id, place) SELECT id, place FROM orders WHERE id = ?", "INSERT bills SELECT orders")
	f("SELECT * FROM songs, artists WHERE songs.artist = artists.id", "SELECT songs artists")
	f("SELECT day FROM (SELECT * FROM orders o JOIN customers c ON o.customer = c.id)", "SELECT SELECT orders customers")
	f(`SELECT * FROM "song list", artists`, `SELECT "song list" artists`)
	f("call totals(?)", "call totals")
	f("{call totals(?)}", "call totals")

	f("select * from shop.orders as o, shop . items", "select shop.orders shop.items")
	f("SELECT 1", "SELECT")
	f("SELECT EXTRACT(YEAR FROM born), a IS DISTINCT FROM b FROM people", "SELECT people")
	f("SELECT a FROM f(1, 2) WHERE x IN (SELECT id FROM u) ORDER BY a, b LIMIT 1", "SELECT f SELECT u")
	f("SELECT a FROM t LEFT JOIN LATERAL (SELECT 1 FROM v) x ON true, w GROUP BY a, b", "SELECT t SELECT v w")
	f("SELECT a FROM t FOR UPDATE", "SELECT t")
	f("(SELECT a FROM t) UNION ALL (SELECT b FROM u)", "SELECT t SELECT u")
	f("INSERT INTO t VALUES (1, 'FROM x') ON CONFLICT (id) DO UPDATE SET a = 1", "INSERT t")
	f("INSERT OR REPLACE INTO t (a, b) VALUES (1, 2)", "INSERT t")
	f("REPLACE INTO t VALUES (1)", "REPLACE t")
	f("UPDATE t SET a = REPLACE(a, 'x', 'y'), b = 2 WHERE c = 3", "UPDATE t")
	f("UPDATE a, b SET a.x = b.x, a.y = 1", "UPDATE a b")
	f("DELETE FROM t USING u WHERE t.id = u.id", "DELETE t u")
	f("MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)", "MERGE t u")
	f("CREATE TABLE IF NOT EXISTS t (id INT, FOREIGN KEY (id) REFERENCES u ON DELETE CASCADE)", "CREATE TABLE t")
	f("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX i t")
	f("DROP TABLE t", "DROP TABLE t")
	f("TRUNCATE TABLE t", "TRUNCATE t")
	f("BEGIN", "BEGIN")
	f("SET search_path = x, y", "SET")
	f("PRAGMA foreign_keys = ON", "PRAGMA")
	f("EXPLAIN ANALYZE UPDATE t SET a = 1", "EXPLAIN UPDATE t")
	f("WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM x", "DELETE t INSERT u SELECT x")
	f("/* SELECT a FROM b */ SELECT 1 -- FROM c\nFROM d; DELETE FROM e", "SELECT d DELETE e")
	f("SELECT t.from, t.select FROM t", "SELECT t")
	f("", "")
	f("  \n", "")
	f("'no' query", "")
	f("SELECT * FROM ?", "SELECT")
	f("SELECT * FROM t"+strings.Repeat(" JOIN a_table_with_a_long_name ON x = y", 20), "SELECT t"+strings.Repeat(" a_table_with_a_long_name", 9))
}

func TestShape(t *testing.T) {
	f := func(query string, want Shape) {
		t.Helper()
		if got := *NewCache("postgresql").Shape(query); got != want {
			t.Errorf("shape of %q is %+v, want %+v", query, got, want)
		}
	}
	f("SELECT * FROM a.t", Shape{"SELECT a.t", "SELECT", "a.t", ""})
	f("SELECT * FROM t, u", Shape{Summary: "SELECT t u", Operation: "SELECT"})
	f("INSERT INTO t SELECT * FROM u", Shape{Summary: "INSERT t SELECT u"})
	f("CREATE TABLE t (a INT)", Shape{"CREATE TABLE t", "CREATE TABLE", "t", ""})
	f("CALL p()", Shape{"CALL p", "CALL", "", "p"})
	f("WITH x AS (SELECT 1) SELECT 2", Shape{Summary: "SELECT SELECT"})
}

func TestText(t *testing.T) {
	f := func(system, query, want string) {
		t.Helper()
		if got := DialectOf(system).Text(query); got != want {
			t.Errorf("%s: text of %q is %q, want %q", system, query, got, want)
		}
	}
	all := func(query, want string) {
		t.Helper()
		for _, system := range []string{"postgresql", "mysql", "sqlite", "microsoft.sql_server", "oracle.db", "clickhouse", ""} {
			f(system, query, want)
		}
	}
	all("SELECT a,b  FROM\tt1 WHERE x = 'it''s' AND y=-1.5e-3 AND z = 0xFF", "SELECT a,b FROM t1 WHERE x = ? AND y=-? AND z = ?")
	all("SELECT /* hunter2 */ a -- hunter2\n, b", "SELECT a , b")
	all("x IN (1, 'a', ?, NULL) AND y in(2) AND z IN (1, f(2)) AND w IN (SELECT 1)", "x IN (?) AND y in(?) AND z IN (?, f(?)) AND w IN (SELECT ?)")
	all("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3,\n'c') RETURNING id", "INSERT INTO t VALUES (?, ?) RETURNING id")
	all("INSERT INTO t VALUES (f(1), 2), (3, 4)", "INSERT INTO t VALUES (f(?), ?), (?, ?)")
	all("SELECT N'x', X'1f', DATE '2020-01-01'", "SELECT ?, ?, DATE ?")
	all("SELECT t.a FROM t WHERE a=.5 AND b = 1.", "SELECT t.a FROM t WHERE a=? AND b = ?")
	all("SELECT 'never closed hunter2", "SELECT ?")
	all("SELECT a /* never closed hunter2", "SELECT a")
	all("\x00 \xff", "\x00 \uFFFD")
	all("SELECT Größe FROM Maße", "SELECT Größe FROM Maße")

	f("postgresql", `SELECT "Name", E'it\'s', U&'\0041', $1, $$hunter2$$, $a$ $$ '$a$, a::int, b[1:2], c->>'k' FROM "t"`, `SELECT "Name", ?, ?, $1, ?, ?, a::int, b[?:?], c->>? FROM "t"`)
	f("postgresql", `SELECT 'C:\', 'hunter2'`, `SELECT ?, ?`)
	f("postgresql", "SELECT 1 /* a /* b */ hunter2 */, x #> 'y', x--2\n, z", "SELECT ? , x #> ?, x , z")
	f("mysql", "SELECT `a b`, \"hunter2\", 'it\\'s', _utf8'x', @v, 5--3 # hunter2\n, 2", "SELECT `a b`, ?, ?, ?, @v, ?--? , ?")
	f("sqlite", "SELECT [a b], \"c\", :name, @name, $name, ?1 FROM t", "SELECT [a b], ?, :name, @name, $name, ?1 FROM t")
	f("sqlite", `SELECT a."b" FROM "t" JOIN "u" WHERE c = "hunter2" AND d IN ("hunter2", "x")`, `SELECT a."b" FROM "t" JOIN "u" WHERE c = ? AND d IN (?, ?)`)
	f("sqlite", `INSERT INTO "t" VALUES ("hunter2"); UPDATE "main"."t" SET a = "hunter2"; DROP TABLE "t"`, `INSERT INTO "t" VALUES (?); UPDATE "main"."t" SET a = ?; DROP TABLE "t"`)
	f("microsoft.sql_server", "SELECT [a]]b], $1.50 FROM #t WHERE x = @p1", "SELECT [a]]b], ? FROM #t WHERE x = @p1")
	f("oracle.db", "SELECT q'[it's hunter2]', nq'!x'y!', :1, :name FROM dual", "SELECT ?, ?, :1, :name FROM dual")

	// Of a database that is not known nothing is shown that could be a value.
	f("", `SELECT 'a\' hunter2`, "SELECT ?")
	f("", `SELECT "a", b`, "SELECT ?, b")
	f("", "SELECT a # hunter2", "SELECT a ?")
	f("", "SELECT 1--'\n hunter2'", "SELECT ??")
	f("", "SELECT /* /* */ hunter2 */", "SELECT ?")

	long := DialectOf("mysql").Text("SELECT " + strings.Repeat("column, ", 10_000))
	if len(long) > maxText+20 || !strings.HasSuffix(long, " ...") {
		t.Errorf("a long text is %d bytes long and ends with %q", len(long), long[len(long)-9:])
	}
	if got := DialectOf("mysql").Text("SELECT a FROM t WHERE id IN (" + strings.Repeat("1, ", 1000) + "1) AND x = 1"); got != "SELECT a FROM t WHERE id IN (?) AND x = ?" {
		t.Errorf("a long list is %q", got)
	}
}

func TestCache(t *testing.T) {
	c := NewCache("mysql")
	query := "SELECT * FROM t WHERE a = 1"
	first := c.Shape(query)
	if again := c.Shape(query); again != first {
		t.Error("a query has two shapes")
	}
	if other := c.Shape("SELECT b FROM t"); other != first {
		t.Error("queries of one shape have two")
	}
	if got := c.Text(query); got != "SELECT * FROM t WHERE a = ?" {
		t.Errorf("text %q", got)
	}
	if allocs := testing.AllocsPerRun(100, func() { c.Shape(query); c.Text(query) }); allocs != 0 {
		t.Errorf("a known query takes %v allocations", allocs)
	}
	queries := make([]string, 5000)
	for i := range queries {
		queries[i] = fmt.Sprintf("SELECT * FROM t WHERE a = %d", i+10)
	}
	n := 0
	if allocs := testing.AllocsPerRun(4000, func() { c.Shape(queries[n]); n++ }); allocs != 0 {
		t.Errorf("a new query of a known shape takes %v allocations", allocs)
	}
	if len(c.young) != 1 {
		t.Errorf("%d queries are kept, want the one that came again", len(c.young))
	}
	// All of this is bounded, and what is used stays.
	for i, q := range queries {
		c.Shape(q)
		c.Shape(q)
		c.Shape(fmt.Sprintf("SELECT * FROM t%d", i))
		if i%100 == 0 {
			c.Shape(query)
		}
	}
	if len(c.young) > maxQueries || len(c.old) > maxQueries || len(c.shapes) > maxShapes || len(c.young)+len(c.old) < maxQueries {
		t.Errorf("%d young, %d old queries and %d shapes", len(c.young), len(c.old), len(c.shapes))
	}
	if c.find(query) == nil {
		t.Error("a query that is in use was let go")
	}
	if got := c.Shape("SELECT * FROM t4999").Collection; got != "t4999" {
		t.Errorf("collection %q of one shape too many", got)
	}
	if long := c.Shape("SELECT * FROM t WHERE a IN (" + strings.Repeat("1, ", maxQuery) + "1)"); long != first {
		t.Errorf("shape %+v of a long query", long)
	}
}

func TestCacheConcurrently(t *testing.T) {
	c := NewCache("postgresql")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 3000 {
				q := fmt.Sprintf("SELECT * FROM t%d", i%1500)
				if s := c.Shape(q); s.Summary != fmt.Sprintf("SELECT t%d", i%1500) {
					t.Errorf("shape %+v of %q", s, q)
				}
				if got := c.Text(q); got != q {
					t.Errorf("text %q of %q", got, q)
				}
			}
		})
	}
	wg.Wait()
}

var systems = []string{"postgresql", "mysql", "sqlite", "microsoft.sql_server", "oracle.db", "clickhouse", ""}

// Whatever comes in, what goes out is text of a bounded size.
func FuzzText(f *testing.F) {
	for _, q := range []string{"SELECT * FROM t WHERE a = 'x' -- c", "INSERT INTO \"t\" VALUES ($1, $$a$$), (E'\\'', 2)", "a IN (1,2", "q'[", "/*/**/", "VALUES (1),(2)", "#", "`", "[a]]", "{call x(?)}"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, system := range systems {
			text := DialectOf(system).Text(query)
			if !utf8.ValidString(text) || len(text) > 4*maxText {
				t.Errorf("%s: text of %q is %d bytes: %q", system, query, len(text), text)
			}
			r := reader{scanner: scanner{Dialect: DialectOf(system), src: query}} // a cache has random seeds, which fuzzing takes for news
			r.read()
			s := r.shape()
			if len(s.Summary) > maxSummary || !strings.HasPrefix(s.Summary, s.Operation) || !strings.HasSuffix(s.Summary, s.Collection) || !strings.HasSuffix(s.Summary, s.Procedure) {
				t.Errorf("%s: shape of %q is %+v", system, query, s)
			}
		}
	})
}

// A value that is written as the database wants it is never shown, and what
// comes after it is read as what it is.
func FuzzValuesAreHidden(f *testing.F) {
	for _, v := range []string{"hunter2", "it's", `\`, `a\'`, "*/", "--", "$$", "''", "\n"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, system := range systems {
			d := DialectOf(system)
			inside := strings.ReplaceAll(value, "'", "''")
			if d.backslash {
				inside = strings.ReplaceAll(inside, `\`, `\\`)
			}
			comment := strings.NewReplacer("*/", "", "/*", "", "*", "", "/", "").Replace(value)
			query := "SELECT a /* " + comment + " */ FROM t WHERE b = '" + inside + "' AND c = 5"
			want := "SELECT a FROM t WHERE b = ? AND c = ?"
			if !d.known && strings.Contains(value, `\`) {
				want = "SELECT a FROM t WHERE b = ?"
				if got := d.Text(query); !strings.HasPrefix(got, want) || strings.Trim(got[len(want):], "AND c=?") != "" {
					t.Errorf("text of %q is %q", query, got)
				}
				continue
			}
			if got := d.Text(query); len(query) < maxScanned && got != want {
				t.Errorf("%s: text of %q is %q, want %q", system, query, got, want)
			}
		}
	})
}

func BenchmarkShape(b *testing.B) {
	query := "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = $1 AND c.region IN ($2, $3) LIMIT 10"
	c := NewCache("postgresql")
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		c.Shape(query)
		for b.Loop() {
			c.Shape(query)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.read(query)
		}
	})
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.dialect.Text(query)
		}
	})
}
