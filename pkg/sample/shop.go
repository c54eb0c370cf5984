package sample

import (
	"fmt"
	"strings"
)

// platform describes where a source's SDK runs.
type platform struct {
	name          string
	library       map[string]any
	messagePrefix string
	agents        []string
}

var platforms = []platform{
	{name: "web", library: map[string]any{"name": "analytics.js", "version": "npm:next-1.84.0"}, messagePrefix: "ajs-next-", agents: []string{
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
	}},
	{name: "ios", library: map[string]any{"name": "analytics-swift", "version": "1.7.2"}, agents: []string{"Shop/4.12 (iPhone; iOS 18.1; Scale/3.00)"}},
	{name: "android", library: map[string]any{"name": "analytics-kotlin", "version": "1.19.1"}, agents: []string{"Dalvik/2.1.0 (Linux; U; Android 15; Pixel 9)"}},
	{name: "server", library: map[string]any{"name": "analytics-go", "version": "3.3.0"}, agents: []string{"analytics-go (version: 3.3.0)"}},
	{name: "backend", library: map[string]any{"name": "analytics-python", "version": "2.3.4"}, messagePrefix: "py-", agents: []string{"analytics-python/2.3.4"}},
}

var (
	locales    = []string{"en-US", "en-GB", "de-DE", "fr-FR", "ja-JP", "pt-BR", "es-ES", "nl-NL"}
	timezones  = []string{"America/New_York", "Europe/London", "Europe/Berlin", "Asia/Tokyo", "America/Sao_Paulo"}
	campaigns  = []string{"summer sale", "newsletter-42", "brand+search", "rückkehrer"}
	firstNames = []string{"Ada", "Zoë", "李雷", "José", "Nguyễn", "Olga", "محمد", "Siân", "Björk", "D'Arcy"}
	lastNames  = []string{"Lovelace", "Müller", "Smith-Jones", "Ōtani", "O\"Brien", "Łukasiewicz", "García", "van der Berg"}
	companies  = []string{"Initech", "Åkerlund & Söhne", "Globex <EU>", "Hooli", "株式会社サンプル"}
	pages      = []string{"Home", "Products", "Product", "Cart", "Checkout", "Search", "Help", "Pricing"}
	screens    = []string{"Feed", "Product Details", "Basket", "Profile", "Settings"}
	products   = []string{"Monopoly: 3rd Edition", "Uno Card Game", "Café au lait, 250 g", "T-shirt 👕 “Gopher”", "USB-C cable\t2 m", "Desk lamp 5\\5", "Naïve Bayes mug"}
	queries    = []string{"usb c", "lamp", "geschenk für mama", "100% cotton", "a&b<c>", ""}
)

// context returns what an SDK reports about itself and its environment.
func (g *Generator) context(p platform, v visitor) map[string]any {
	c := map[string]any{
		"library":   p.library,
		"locale":    locales[v.number%uint64(len(locales))],
		"timezone":  timezones[v.number%uint64(len(timezones))],
		"userAgent": p.agents[v.number%uint64(len(p.agents))],
		"ip":        fmt.Sprintf("203.0.113.%d", v.number%254+1),
	}
	switch p.name {
	case "web":
		page := strings.ToLower(pick(g, pages))
		c["page"] = map[string]any{
			"path": "/" + page, "url": "https://shop.example.com/" + page + "?ref=home",
			"title": "Shop | " + page, "referrer": "https://search.example.net/", "search": "?ref=home",
		}
		if g.rand.IntN(10) == 0 {
			c["campaign"] = map[string]any{"name": pick(g, campaigns), "source": "email", "medium": "newsletter", "term": nil}
		}
	case "ios", "android":
		c["app"] = map[string]any{"name": "Shop", "version": "4.12.0", "build": "4120", "namespace": "com.example.shop"}
		c["device"] = map[string]any{"id": v.anonymousID, "manufacturer": "Example", "adTrackingEnabled": false}
		c["network"] = map[string]any{"wifi": v.number%2 == 0, "cellular": v.number%2 == 1, "carrier": "T-Mobile"}
		c["screen"] = map[string]any{"width": 1179, "height": 2556, "density": 2.75}
	}
	return c
}

// fillCall makes c a call of some type; as in practice, most are track and page.
func (g *Generator) fillCall(c *call, p platform, v visitor) {
	switch n := g.rand.IntN(100); {
	case n < 58:
		c.Type = "track"
		c.Event, c.Properties = g.track(v)
	case n < 85 && (p.name == "ios" || p.name == "android"):
		c.Type, c.Name = "screen", pick(g, screens)
		c.Properties = map[string]any{"variation": pick(g, []string{"blue", "green"}), "depth": g.rand.IntN(5)}
	case n < 85:
		c.Type, c.Category, c.Name = "page", "Shop", pick(g, pages)
		c.Properties = map[string]any{"title": "Shop | " + c.Name, "path": "/" + strings.ToLower(c.Name), "url": "https://shop.example.com/" + strings.ToLower(c.Name), "referrer": ""}
	case n < 94:
		c.Type, c.UserID, c.Traits = "identify", fmt.Sprintf("user_%06d", v.number), g.traits(v)
	case n < 98:
		company := pick(g, companies)
		c.Type, c.GroupID = "group", fmt.Sprintf("grp_%d", len(company))
		c.Traits = map[string]any{"name": company, "employees": g.rand.IntN(10_000), "plan": pick(g, []string{"free", "team", "business"})}
	default:
		c.Type, c.UserID, c.PreviousID = "alias", fmt.Sprintf("user_%06d", v.number), v.anonymousID
	}
}

func (g *Generator) traits(v visitor) map[string]any {
	first, last := firstNames[v.number%uint64(len(firstNames))], lastNames[v.number%uint64(len(lastNames))]
	return map[string]any{
		"firstName": first, "lastName": last, "name": first + " " + last,
		"email": fmt.Sprintf("user%d@example.org", v.number), "age": 18 + v.number%60, "vip": v.number%17 == 0,
		"address": map[string]any{"city": pick(g, []string{"Zürich", "São Paulo", "New York", "Kraków", "東京"}), "postalCode": "01234", "state": nil},
		"tags":    []any{"shop", pick(g, campaigns), 7, true},
	}
}

// track returns one of the events of Segment's ecommerce spec.
func (g *Generator) track(v visitor) (string, map[string]any) {
	switch g.rand.IntN(7) {
	case 0:
		return "Products Searched", map[string]any{"query": pick(g, queries), "results": g.rand.IntN(300)}
	case 1, 2:
		return "Product Viewed", g.product()
	case 3:
		p := g.product()
		p["cart_id"], p["coupon"] = fmt.Sprintf("cart-%x", g.rand.Uint32()), nil
		return "Product Added", p
	case 4:
		items := make([]any, 1+g.rand.IntN(4))
		for i := range items {
			items[i] = g.product()
		}
		return "Order Completed", map[string]any{
			"order_id": fmt.Sprintf("50314b8e%08x", g.rand.Uint32()), "affiliation": "Example Store", "currency": "EUR",
			"total": g.money(500), "revenue": g.money(400), "shipping": 4.99, "tax": g.money(50), "products": items,
		}
	case 5:
		return "Signed Up", map[string]any{"plan": pick(g, []string{"free", "pro"}), "loginCount": 0, "account_id": 9007199254740991 - v.number}
	default:
		return "Video Content Playing", map[string]any{"asset_id": fmt.Sprintf("a%d", g.rand.IntN(99)), "position": g.rand.IntN(3600), "bitrate": 1e-3 * float64(g.rand.IntN(9000)), "livestream": false}
	}
}

func (g *Generator) product() map[string]any {
	name := pick(g, products)
	return map[string]any{
		"product_id": fmt.Sprintf("507f1f77bcf86cd7%08x", g.rand.Uint32()), "sku": fmt.Sprintf("G-%d", g.rand.IntN(100)),
		"category": "Games", "name": name, "brand": pick(g, companies), "price": g.money(90), "quantity": 1 + g.rand.IntN(3),
		"url": "https://shop.example.com/product/" + fmt.Sprint(len(name)), "position": g.rand.IntN(20),
	}
}
