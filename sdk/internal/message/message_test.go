package message

import (
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain": "plain", "two words": "two words",
		"ERROR: duplicate key value violates unique constraint \"users_email\" (SQLSTATE 23505)": "ERROR: duplicate key value violates unique constraint ?",
		"Duplicate entry 'it''s x' for key 'k'":                                                  "Duplicate entry ?",
		"The duplicate key value is (bob@example.com).":                                          "The duplicate key value is ?",
		`value "4111111111111111" is out of range for type integer`:                              "value ?",
		"unable to encode 4111111111111111 into binary format":                                   "unable to encode ?",
		"unable to encode hunter2 into binary format":                                            "unable to encode ?",
		`parse "scheme://user:pa%ss@host/db": invalid URL escape "%ss"`:                          "parse ?",
		"cannot parse `postgres://u:hunter2@db`":                                                 "cannot parse ?",
		"SQL logic error: no such column: secret (1)":                                            "SQL logic error: no such column: ?",
		"no such column: secret":                                                                 "no such column: ?",
		"unbekannter Wert „hunter“ oder «secret»":                                                "unbekannter Wert ?",
		"ERR unknown command 'hunter2', with args":                                               "ERR unknown command ?",
		"hunter2":                    "?",
		"broken \xff x":              "broken  x",
		strings.Repeat("word ", 100): strings.Repeat("word ", 51) + "?",
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("a 'b' c")
	f.Fuzz(func(t *testing.T, text string) {
		got := Plain(text)
		if begin := strings.TrimSuffix(got, "?"); len(got) > maxText+1 || strings.ContainsAny(begin, "'\"`(0123456789") || !strings.HasPrefix(strings.ToValidUTF8(text, ""), begin) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
