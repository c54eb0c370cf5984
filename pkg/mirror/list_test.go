package mirror

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

func TestParsePlace(t *testing.T) {
	const b = "s3://acme-logs"
	day := fmt.Sprint(day1)
	for uri, want := range map[string]Place{
		b:                                    {Bucket: "acme-logs"},
		b + "/":                              {Bucket: "acme-logs"},
		b + "/some/path/":                    {Bucket: "acme-logs", Prefix: "some/path/"},
		b + "/segment-logs":                  {Bucket: "acme-logs", levels: 1},
		b + "/a/segment-logs/":               {Bucket: "acme-logs", Prefix: "a/", levels: 1},
		b + "/segment-logs/web":              {Bucket: "acme-logs", Source: "web", levels: 2},
		b + "/segment-logs/web/" + day + "/": {Bucket: "acme-logs", Source: "web", Day: day1, levels: 3},
		b + "/segment-logs/web/2025-11-21":   {Bucket: "acme-logs", Source: "web", Day: day1, levels: 3},
		b + "/a/segment-logs/web/" + day + "/" + name(day1, 1): {Bucket: "acme-logs", Prefix: "a/", Source: "web", Day: day1, Name: name(day1, 1), levels: 3},
		b + "/segment-logs/test/segment-logs/web/":             {Bucket: "acme-logs", Prefix: "segment-logs/test/", Source: "web", levels: 2},
	} {
		got, err := ParsePlace(uri)
		require.NoError(t, err, uri)
		require.Equal(t, want, got, uri)
		again, err := ParsePlace(got.String())
		require.NoError(t, err)
		again.levels = got.levels // String always includes segment-logs
		require.Equal(t, got, again, uri)
	}
	for uri, says := range map[string]string{
		"": "names no bucket", "acme-logs": "names no bucket", "s3://": "names no bucket", "s3:///segment-logs": "names no bucket",
		b + "/segment-logs/*":                             "without wildcards",
		b + "/segment-logs/web/today":                     "1795305600000",
		b + "/segment-logs/web/" + day + "/*.gz":          "is not a file",
		b + "/segment-logs/web/" + day + "/1.a.gz/x":      `"x" is not expected`,
		b + "/segment-logs/../" + day:                     "is not a source id",
		b + "/segment-logs/web/1763683200001/1.aaaaaa.gz": "is not a day",
	} {
		_, err := ParsePlace(uri)
		require.ErrorContains(t, err, says, uri)
	}
}

func TestList(t *testing.T) {
	m := bucket(t)
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	all := place(t, "s3://acme-logs")
	app := place(t, "s3://acme-logs/segment-logs/app")
	day := place(t, fmt.Sprintf("s3://acme-logs/segment-logs/app/%d", day2))
	for hazard, c := range map[string]struct {
		place  Place
		filter Filter
		want   []string
		lists  int
	}{
		"foreign_objects_are_ignored": {all, Filter{}, []string{
			// In the order of keys: '-' comes before '/'.
			key("app-2", day1, 0), key("app-2", day1, 1), key("app-2", day2, 0), key("app-2", day2, 1),
			key("app", day1, 0), key("app", day1, 1), key("app", day2, 0), key("app", day2, 1),
			key("web", day1, 0), key("web", day1, 1), key("web", day2, 0), key("web", day2, 1),
		}, 1},
		"trial_folder_named":          {place(t, "s3://acme-logs/segment-logs/sealift-check/"), Filter{}, []string{key(trialSource, day2+dayMillis, 0)}, 1},
		"source_with_the_same_prefix": {app, Filter{}, []string{key("app", day1, 0), key("app", day1, 1), key("app", day2, 0), key("app", day2, 1)}, 1},
		"day":                         {day, Filter{}, []string{key("app", day2, 0), key("app", day2, 1)}, 1},
		"day_of_all":                  {all, DayFilter(day1), []string{key("app-2", day1, 0), key("app-2", day1, 1), key("app", day1, 0), key("app", day1, 1), key("web", day1, 0), key("web", day1, 1)}, 4},
		"since":                       {app, Filter{Since: at(day2)}, []string{key("app", day2, 0), key("app", day2, 1)}, 1},
		"since_1970":                  {app, Filter{Since: at(0)}, []string{key("app", day1, 0), key("app", day1, 1), key("app", day2, 0), key("app", day2, 1)}, 1},
		"since_before_1970":           {app, Filter{Since: at(-5 * dayMillis)}, []string{key("app", day1, 0), key("app", day1, 1), key("app", day2, 0), key("app", day2, 1)}, 1},
		"since_12_digits":             {app, Filter{Since: at(946684800000), Until: at(day1 + hour)}, []string{key("app", day1, 0)}, 1},
		"day_of_12_digits":            {app, DayFilter(946684800000), nil, 1},
		"since_within_an_hour":        {app, Filter{Since: at(day2 + hour + 100)}, []string{key("app", day2, 1)}, 1},
		"until":                       {app, Filter{Until: at(day1 + hour)}, []string{key("app", day1, 0)}, 1},
		"hours":                       {app, Filter{Since: at(day1 + hour), Until: at(day2 + hour)}, []string{key("app", day1, 1), key("app", day2, 0)}, 1},
		"hour_of_the_day":             {day, Filter{Since: at(day1 + hour), Until: at(day2 + hour)}, []string{key("app", day2, 0)}, 1},
		"outside_of_the_day":          {day, Filter{Until: at(day1)}, nil, 0},
		"backwards":                   {app, Filter{Since: at(day2), Until: at(day1)}, nil, 0},
		"named_file_is_not_listed":    {place(t, "s3://acme-logs/"+key("web", day1, 1)), Filter{}, []string{key("web", day1, 1)}, 0},
		"no_such_source":              {place(t, "s3://acme-logs/segment-logs/nobody"), Filter{}, nil, 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			m.lists = 0
			require.Equal(t, c.want, collect(t, List(t.Context(), m, c.place, c.filter)))
			require.Equal(t, c.lists, m.lists, "requests")
		})
	}
	t.Run("file_fields", func(t *testing.T) {
		for f, err := range List(t.Context(), m, place(t, "s3://acme-logs/"+key("web", day1, 1)), Filter{}) {
			require.NoError(t, err)
			require.Equal(t, "web", f.Source)
			require.Equal(t, day1, f.Day)
			require.Equal(t, day1+hour+7, f.Received)
			require.Positive(t, f.Size)
			require.NotEmpty(t, f.ETag)
			require.Positive(t, f.Modified)
		}
	})
	t.Run("stops_with_its_consumer", func(t *testing.T) {
		for range List(t.Context(), m, all, DayFilter(day1)) {
			break
		}
	})
	t.Run("prefix", func(t *testing.T) {
		p := objstore.NewMemory("p")
		put(t, p, "some/path/"+key("web", day1, 0), "{}\n")
		require.Equal(t, []string{"some/path/" + key("web", day1, 0)}, collect(t, List(t.Context(), p, place(t, "s3://p/some/path"), Filter{})))
		require.Empty(t, collect(t, List(t.Context(), p, place(t, "s3://p/some"), Filter{})))
	})
	t.Run("empty_bucket", func(t *testing.T) {
		require.Empty(t, collect(t, List(t.Context(), objstore.NewMemory("empty"), all, DayFilter(day1))))
	})
}

// Segment's own files, which may be in the bucket from before, are named for when they were
// written: for those only the folder's day counts.
func TestFilesNamedForAnotherDayBelongToTheirFolder(t *testing.T) {
	m := objstore.NewMemory("acme-logs")
	foreign := fmt.Sprintf("segment-logs/web/%d/%d.b27b420ba21e.f4c8ef3.x.gz", day1, day1+100*dayMillis)
	put(t, m, foreign, "{}\n")
	web := place(t, "s3://acme-logs/segment-logs/web")
	require.Equal(t, []string{foreign}, collect(t, List(t.Context(), m, web, DayFilter(day1))))
	require.Empty(t, collect(t, List(t.Context(), m, web, DayFilter(day2))))
	require.Equal(t, []string{foreign}, collect(t, List(t.Context(), m, web, Filter{Since: time.UnixMilli(day1 + 5*hour)})))
}

func TestListPages(t *testing.T) {
	m := &flakyStore{Memory: objstore.NewMemory("big")}
	for n := range 2001 {
		putRaw(t, m, fmt.Sprintf("segment-logs/web/%d/%d.a.gz", day1, day1+int64(n)), []byte("x"), nil)
	}
	require.Len(t, collect(t, List(t.Context(), m, place(t, "s3://big/segment-logs/web"), Filter{})), 2001)
	require.Equal(t, 3, m.lists)
}

// Days that are not shown cost nothing: ten of 120 days of a source with 30,000 files take four
// requests.
func TestListSkipsOlderDays(t *testing.T) {
	m := &flakyStore{Memory: objstore.NewMemory("big")}
	for day := range int64(120) {
		for n := range int64(250) {
			putRaw(t, m, fmt.Sprintf("segment-logs/web/%d/%d.a.gz", day1+day*dayMillis, day1+day*dayMillis+n), []byte("x"), nil)
		}
	}
	web := place(t, "s3://big/segment-logs/web")
	days, err := Days(t.Context(), m, web)
	require.NoError(t, err)
	require.Len(t, days, 120)
	require.Len(t, collect(t, List(t.Context(), m, web, Filter{Since: time.UnixMilli(days[110])})), 2500)
	require.Equal(t, 1+3, m.lists)
}

func TestListErrorEndsIt(t *testing.T) {
	m := bucket(t)
	m.SetFault(func(op objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
	for _, uri := range []string{"s3://acme-logs", "s3://acme-logs/segment-logs/web", "s3://acme-logs/" + key("web", day1, 0)} {
		for _, f := range []Filter{{}, DayFilter(day1)} {
			var n int
			for _, err := range List(t.Context(), m, place(t, uri), f) {
				n++
				require.ErrorIs(t, err, objstore.ErrDenied)
			}
			require.Equal(t, 1, n, uri)
		}
	}
	_, err := Days(t.Context(), m, place(t, "s3://acme-logs"))
	require.ErrorIs(t, err, objstore.ErrDenied)
}

func TestDays(t *testing.T) {
	m := bucket(t)
	for uri, lists := range map[string]int{"s3://acme-logs": 4, "s3://acme-logs/segment-logs/web/": 1} { // "we b" and ".." are not sources
		m.lists = 0
		days, err := Days(t.Context(), m, place(t, uri))
		require.NoError(t, err)
		require.Equal(t, []int64{day1, day2}, days)
		require.Equal(t, lists, m.lists)
	}
	days, err := Days(t.Context(), m, place(t, "s3://acme-logs/segment-logs/web/2025-11-22"))
	require.NoError(t, err)
	require.Equal(t, []int64{day2}, days)
}

func TestParseDay(t *testing.T) {
	for _, in := range []string{"2025-11-21", "1763683200000"} {
		ms, err := ParseDay(in)
		require.NoError(t, err)
		require.Equal(t, day1, ms)
	}
	for _, in := range []string{"", "yesterday", "2025-11-31", "1763683200001", "0", "-86400000", "1763683200", "17636832000000"} {
		_, err := ParseDay(in)
		require.ErrorContains(t, err, "2026-11-22", in)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(key("web", day1, 1))
	f.Add("segment-logs/web/1763683200000/1..gz")
	f.Add("segment-logs/web/-86400000/1.a.gz")
	f.Fuzz(func(t *testing.T, key string) {
		file, ok := parse("", objstore.Info{Key: key})
		if !ok {
			return
		}
		require.Equal(t, key, fmt.Sprintf("%s%s/%d/%s", root, file.Source, file.Day, file.Name))
		for levels := range 4 {
			path := SyncOptions{Dir: "dir"}.path(Place{levels: levels}, file)
			require.True(t, filepath.IsLocal(path), path)
			require.Equal(t, 4-levels, strings.Count(filepath.ToSlash(path), "/"), path)
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	f.Add("s3://b/a/segment-logs/web/1763683200000/1.a.gz")
	f.Add("s3://b//segment-logs//")
	f.Fuzz(func(t *testing.T, uri string) {
		p, err := ParsePlace(uri)
		if err != nil {
			return
		}
		again, err := ParsePlace(p.String())
		require.NoError(t, err)
		again.levels = p.levels
		require.Equal(t, p, again)
	})
}
