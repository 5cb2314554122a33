// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxPropertiesBytes bounds a properties file; Kafka's own are a few KiB, and
// one with PEM keys inside stays far below.
const maxPropertiesBytes = 16 << 20

// Assignment is one key = value of a properties file and the line it began on.
type Assignment struct {
	Key, Value string
	Line       int
}

// ParseProperties reads the form of Java's properties files:
//
//	# comment          ! comment
//	key = value        key: value        key value
//	long = first, \
//	       second      a backslash joins the next line, without its indent
//	\u0041 \t \n \r \f \= \: \\          escapes, in keys and values
//
// Keys may come more than once; the last one counts. ${…} is left alone; it
// belongs to the config providers.
//
// Differs from Kafka: a file that is valid UTF-8 is read as UTF-8, which is
// what editors write; any other is read as ISO 8859-1, as Java does.
//
// It is our own because the parser we tried (magiconair/properties) runs each
// file through a goroutine, which it leaves behind when a file is malformed.
func ParseProperties(data []byte) ([]Assignment, error) {
	if len(data) > maxPropertiesBytes {
		return nil, fmt.Errorf("%d bytes are more than a properties file may have (%d)", len(data), maxPropertiesBytes)
	}
	text := string(data)
	if !utf8.ValidString(text) {
		var b strings.Builder
		for _, c := range data {
			b.WriteRune(rune(c))
		}
		text = b.String()
	}
	var out []Assignment
	for number := 1; text != ""; {
		first := number
		var logical string
		if logical, text, number = logicalLine(text, number); logical == "" {
			continue
		}
		a, err := assignment(logical)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", first, err)
		}
		a.Line = first
		out = append(out, a)
	}
	return out, nil
}

const blanks = " \t\f"

// logicalLine takes one line with its continuations off the text; it is ""
// for blank lines and comments.
func logicalLine(text string, number int) (logical, rest string, next int) {
	line, rest, next := naturalLine(text, number)
	line = strings.TrimLeft(line, blanks)
	if line == "" || line[0] == '#' || line[0] == '!' {
		return "", rest, next
	}
	if !continues(line) {
		return line, rest, next
	}
	var b strings.Builder
	for continues(line) {
		b.WriteString(line[:len(line)-1])
		line, rest, next = naturalLine(rest, next)
		line = strings.TrimLeft(line, blanks)
	}
	b.WriteString(line)
	return b.String(), rest, next
}

// naturalLine ends at \n, \r or \r\n.
func naturalLine(text string, number int) (line, rest string, next int) {
	end := strings.IndexAny(text, "\r\n")
	if end < 0 {
		return text, "", number + 1
	}
	line, rest = text[:end], text[end+1:]
	if text[end] == '\r' && strings.HasPrefix(rest, "\n") {
		rest = rest[1:]
	}
	return line, rest, number + 1
}

// continues reports whether a line ends in an odd number of backslashes.
func continues(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// assignment splits a logical line at the first =, : or blank that no
// backslash escapes.
func assignment(line string) (Assignment, error) {
	end := 0
	for end < len(line) && !strings.ContainsRune("=:"+blanks, rune(line[end])) {
		if line[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(line))
	value := strings.TrimLeft(line[end:], blanks)
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], blanks)
	}
	key, err := unescape(line[:end])
	if err != nil {
		return Assignment{}, err
	}
	value, err = unescape(value)
	return Assignment{Key: key, Value: value}, err
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			if s[i] != '\\' {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if i+5 > len(s) {
				return "", fmt.Errorf(`malformed \uxxxx escape in %q`, s)
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`malformed \uxxxx escape in %q`, s)
			}
			b.WriteRune(rune(n))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// last maps each key to the value that counts.
func last(assignments []Assignment) map[string]string {
	out := make(map[string]string, len(assignments))
	for _, a := range assignments {
		out[a.Key] = a.Value
	}
	return out
}
