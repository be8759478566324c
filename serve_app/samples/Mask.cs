// Get a picture back with every face hidden: dotnet run -- PICTURE OUTPUT
using System.Net.Http.Headers;
using System.Text.Json;

var url = Environment.GetEnvironmentVariable("FACE_API_URL") ?? "http://127.0.0.1:8000";
using var client = new HttpClient();
client.DefaultRequestHeaders.Add("X-API-Key", Environment.GetEnvironmentVariable("FACE_API_KEY") ?? "");

// The bytes alone, under any image/* type; Detect.cs sends them as multipart/form-data.
using var picture = new StreamContent(File.OpenRead(args[0]));
picture.Headers.ContentType = new MediaTypeHeaderValue("image/jpeg");
using var response = await client.PostAsync($"{url}/api/v1/mask?method=gaussian&format=jpeg", picture);
var answer = await response.Content.ReadAsByteArrayAsync();
if (!response.IsSuccessStatusCode)
{
    var detail = JsonDocument.Parse(answer).RootElement.GetProperty("detail").GetString();
    Console.Error.WriteLine($"{(int)response.StatusCode}: {detail}");
    return 1;
}
await File.WriteAllBytesAsync(args[1], answer);
return 0;
