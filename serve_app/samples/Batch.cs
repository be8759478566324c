// Get many pictures back with every face hidden, as a zip: dotnet run -- OUTPUT PICTURE...
using System.Text.Json;

var url = Environment.GetEnvironmentVariable("FACE_API_URL") ?? "http://127.0.0.1:8000";
using var client = new HttpClient { Timeout = TimeSpan.FromMinutes(10) };
client.DefaultRequestHeaders.Add("X-API-Key", Environment.GetEnvironmentVariable("FACE_API_KEY") ?? "");

// Each picture is a part `image`; the zip's manifest.json says what became of each.
using var form = new MultipartFormDataContent();
foreach (var path in args[1..])
    form.Add(new ByteArrayContent(await File.ReadAllBytesAsync(path)), "image", Path.GetFileName(path));
using var response = await client.PostAsync($"{url}/api/v1/batch?task=mask&answer=zip", form);
var answer = await response.Content.ReadAsByteArrayAsync();
if (!response.IsSuccessStatusCode)
{
    var detail = JsonDocument.Parse(answer).RootElement.GetProperty("detail").GetString();
    Console.Error.WriteLine($"{(int)response.StatusCode}: {detail}");
    return 1;
}
await File.WriteAllBytesAsync(args[0], answer);
return 0;
